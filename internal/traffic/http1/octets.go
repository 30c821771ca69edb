package http1

// tchar marks the characters of a token (RFC 9110 section 5.6.2).
var tchar = func() (t [256]bool) {
	for c := range t {
		t[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

// fieldOctet marks what a field value may hold: visible characters, space, tab and obs-text.
var fieldOctet = func() (t [256]bool) {
	for c := range t {
		t[c] = c == '\t' || c >= 0x20 && c != 0x7f
	}
	return t
}()

// targetOctet marks what a request target may hold: visible ASCII but for '#', which begins a
// fragment and is never sent.
var targetOctet = func() (t [256]bool) {
	for c := range t {
		t[c] = c > 0x20 && c < 0x7f && c != '#'
	}
	return t
}()

// hostOctet marks what the name of an authority may hold: the unreserved and sub-delim characters
// that names and addresses are made of, without those that some server takes for a separator.
var hostOctet = func() (t [256]bool) {
	for c := range t {
		t[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '-' || c == '.' || c == '_' || c == '~'
	}
	return t
}()

func all(b []byte, set *[256]bool) bool {
	for _, c := range b {
		if !set[c] {
			return false
		}
	}
	return true
}

// parseDigits reads a decimal number of at most 18 digits and nothing else.
func parseDigits(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
