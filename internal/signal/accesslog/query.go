package accesslog

import (
	"bytes"
	"slices"
)

// maxParameter is the longest name of a parameter that can be redacted.
const maxParameter = 128

// appendQuery appends a query with the values of the parameters that are to be redacted taken out.
func (p *plan) appendQuery(b, query []byte, e escape) []byte {
	if p.redact&fieldQuery != 0 {
		return append(b, Redacted...)
	}
	for len(query) > 0 {
		// Some servers part parameters at semicolons too: a secret behind one is a secret.
		end := bytes.IndexAny(query, "&;")
		pair, rest := query, []byte(nil)
		if end >= 0 {
			pair, rest = query[:end+1], query[end+1:]
		}
		b = p.appendPair(b, pair, e)
		query = rest
	}
	return b
}

// appendPair appends a parameter with the separator behind it.
func (p *plan) appendPair(b, pair []byte, e escape) []byte {
	i := bytes.IndexByte(pair, '=')
	if i < 0 || !p.secret(pair[:i]) {
		return e(b, pair)
	}
	b = e(b, pair[:i+1])
	b = append(b, Redacted...)
	if last := pair[len(pair)-1]; last == '&' || last == ';' {
		b = append(b, last)
	}
	return b
}

// secret reports whether a parameter's value is to be taken out. Its name is compared as the service behind
// reads it: decoded.
func (p *plan) secret(name []byte) bool {
	if len(p.query) == 0 {
		return false
	}
	var room [maxParameter]byte
	n := 0
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c == '%' && i+2 < len(name) && isHex(name[i+1]) && isHex(name[i+2]):
			c = unhex(name[i+1])<<4 | unhex(name[i+2])
			i += 2
		case c == '+':
			c = ' '
		}
		if n == len(room) {
			return false
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		room[n] = c
		n++
	}
	decoded := bytes.TrimSpace(room[:n])
	return slices.ContainsFunc(p.query, func(s string) bool { return s == string(decoded) })
}

// appendReferer appends the address of another page, whose query is redacted as the request's own is, and
// whose fragment may be a query too.
func (p *plan) appendReferer(b, address []byte, e escape) []byte {
	if p.redact&fieldReferer != 0 {
		return append(b, Redacted...)
	}
	address = address[:min(len(address), maxHeader)]
	for {
		i := bytes.IndexAny(address, "?#")
		if i < 0 {
			return e(b, address)
		}
		b = e(b, address[:i+1])
		address = address[i+1:]
		part := address
		if next := bytes.IndexAny(address, "?#"); next >= 0 {
			part = address[:next]
		}
		b = p.appendQuery(b, part, e)
		address = address[len(part):]
	}
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
