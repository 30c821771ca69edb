package exchange

import "bytes"

// Field is one field line: a name as it was spelled and a value without the space around it. Both
// alias a buffer that lives as long as the exchange.
type Field struct {
	Name  []byte
	Value []byte
	// Kind is what the name means to a proxy; parsers set it with KindOf.
	Kind Kind
}

// Fields are field lines in the order in which they came.
type Fields []Field

// Get returns the value of the first field of that name, compared without case; nil if there is none.
func (f Fields) Get(name string) []byte {
	for i := range f {
		if EqualFold(f[i].Name, name) {
			return f[i].Value
		}
	}
	return nil
}

// Find returns the first field of a kind and whether there is one.
func (f Fields) Find(k Kind) (Field, bool) {
	for i := range f {
		if f[i].Kind == k {
			return f[i], true
		}
	}
	return Field{}, false
}

// EqualFold reports whether b equals s, ASCII letters compared without case.
func EqualFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if lower[b[i]] != lower[s[i]] {
			return false
		}
	}
	return true
}

// HasToken reports whether the comma-separated list value holds the token, compared without case
// (RFC 9110 section 5.6.1).
func HasToken(value []byte, token string) bool {
	for len(value) > 0 {
		var item []byte
		item, value = NextToken(value)
		if EqualFold(item, token) {
			return true
		}
	}
	return false
}

// NextToken cuts the first element off a comma-separated list and trims the space around it.
func NextToken(list []byte) (item, rest []byte) {
	item, rest, _ = bytes.Cut(list, comma)
	return bytes.Trim(item, " \t"), rest
}

var comma = []byte(",")

var lower = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if 'A' <= i && i <= 'Z' {
			t[i] = byte(i) + 'a' - 'A'
		}
	}
	return t
}()
