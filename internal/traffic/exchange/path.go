package exchange

import "bytes"

// Canonical appends the one canonical form of a request path to dst: the form that is matched,
// authorised and forwarded. It begins with '/', has neither dot segments nor empty ones (but for a
// final one, the trailing slash), percent-encodes with upper-case digits, and encodes no unreserved
// character (RFC 3986 section 6.2.2). The query is not part of it.
//
// An encoded slash is kept and reported. Refused, with problem not empty, is what servers are known to
// read in more than one way: a backslash in any form, NUL and other control characters, a broken
// percent encoding, an encoded dot segment, a dot segment that leaves the root or carries parameters,
// and an encoded slash whose decoding would make a dot segment.
func Canonical(dst, raw []byte) (path []byte, encodedSlash bool, problem string) {
	if len(raw) == 0 || raw[0] != '/' {
		return dst, false, "the path does not begin with a slash"
	}
	if !NeedsCanonical(raw) {
		return append(dst, raw...), false, ""
	}
	start := len(dst)
	for i := 1; ; {
		end := bytes.IndexByte(raw[i:], '/')
		last := end < 0
		if last {
			end = len(raw) - i
		}
		seg := raw[i : i+end]
		switch {
		case len(seg) == 0:
			// Doubled slashes are one.
			if last && (len(dst) == start || dst[len(dst)-1] != '/') {
				dst = append(dst, '/')
			}
		case len(seg) == 1 && seg[0] == '.':
			if last {
				dst = append(dst, '/')
			}
		case len(seg) == 2 && seg[0] == '.' && seg[1] == '.':
			if len(dst) == start {
				return dst[:start], false, "the path leaves its root"
			}
			dst = dst[:start+bytes.LastIndexByte(dst[start:], '/')]
			if last {
				dst = append(dst, '/')
			}
		default:
			var slash bool
			dst = append(dst, '/')
			if dst, slash, problem = appendSegment(dst, seg); problem != "" {
				return dst[:start], false, problem
			}
			encodedSlash = encodedSlash || slash
		}
		if last {
			break
		}
		i += end + 1
	}
	if len(dst) == start {
		dst = append(dst, '/')
	}
	return dst, encodedSlash, ""
}

// NeedsCanonical reports whether a path might not be canonical already; most are, and need no copy.
func NeedsCanonical(raw []byte) bool {
	prev := byte(0)
	for _, c := range raw {
		if pathWork[c] || prev == '/' && (c == '/' || c == '.') {
			return true
		}
		prev = c
	}
	return false
}

// appendSegment appends a segment in normal form and refuses one that decodes to a dot segment.
func appendSegment(dst, seg []byte) (_ []byte, encodedSlash bool, problem string) {
	start := len(dst)
	part := start // where the piece after the last encoded slash begins
	for i := 0; i < len(seg); i++ {
		c := seg[i]
		switch {
		case c == '\\':
			return dst, false, "the path holds a backslash"
		case c < 0x20 || c == 0x7f:
			return dst, false, "the path holds a control character"
		case c != '%':
			dst = append(dst, c)
			continue
		}
		if i+2 >= len(seg) || !isHex(seg[i+1]) || !isHex(seg[i+2]) {
			return dst, false, "the path holds a broken percent encoding"
		}
		d := unhexDigit(seg[i+1])<<4 | unhexDigit(seg[i+2])
		switch {
		case d == '\\':
			return dst, false, "the path holds an encoded backslash"
		case d < 0x20 || d == 0x7f:
			return dst, false, "the path holds an encoded control character"
		case d == '/':
			if isDots(dst[part:]) {
				return dst, false, "the path holds an encoded dot segment"
			}
			dst = append(dst, "%2F"...)
			part, encodedSlash = len(dst), true
		case unreserved[d]:
			dst = append(dst, d)
		default:
			dst = append(dst, '%', upperHex[d>>4], upperHex[d&15])
		}
		i += 2
	}
	if isDots(dst[part:]) {
		return dst, false, "the path holds an encoded dot segment"
	}
	return dst, encodedSlash, ""
}

// isDots reports whether a segment is "." or "..", whatever parameters follow a semicolon.
func isDots(seg []byte) bool {
	if i := bytes.IndexByte(seg, ';'); i >= 0 {
		seg = seg[:i]
	}
	return len(seg) == 1 && seg[0] == '.' || len(seg) == 2 && seg[0] == '.' && seg[1] == '.'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhexDigit(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}

const upperHex = "0123456789ABCDEF"

// unreserved characters mean the same encoded or not (RFC 3986 section 2.3).
var unreserved = func() (t [256]bool) {
	for c := range t {
		t[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '-' || c == '.' || c == '_' || c == '~'
	}
	return t
}()

// pathWork marks the characters that a canonical path may have to lose.
var pathWork = func() (t [256]bool) {
	for c := range t {
		t[c] = c < 0x20 || c == 0x7f || c == '%' || c == '\\' || c == ';'
	}
	return t
}()
