package accesslog

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// escape appends a client's text so that it cannot leave the quotes, nor the line, that it stands in.
type escape func(b, text []byte) []byte

// appendString appends a JSON string.
func appendString[T ~string | ~[]byte](b []byte, s T) []byte {
	b = append(b, '"')
	b = appendText(b, s)
	return append(b, '"')
}

// jsonText is the inside of a JSON string.
func jsonText(b, text []byte) []byte { return appendText(b, text) }

// appendText appends the inside of a JSON string. Bytes that are no UTF-8 become U+FFFD, and what is not
// printable is escaped: there are line ends and controls of terminals beyond ASCII too.
func appendText[T ~string | ~[]byte](b []byte, s T) []byte {
	start := 0
	for i := 0; i < len(s); {
		if plain[s[i]] {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		if s[i] < utf8.RuneSelf {
			b = appendEscaped(b, s[i])
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		b = appendRune(b, r)
		i += n
		start = i
	}
	return append(b, s[start:]...)
}

func appendEscaped(b []byte, c byte) []byte {
	if c == '"' || c == '\\' {
		return append(b, '\\', c)
	}
	return append(b, '\\', 'u', '0', '0', lowerHex[c>>4], lowerHex[c&15])
}

func appendRune(b []byte, r rune) []byte {
	if strconv.IsPrint(r) {
		return utf8.AppendRune(b, r)
	}
	if r <= 0xffff {
		return appendUnit(b, r)
	}
	hi, lo := utf16.EncodeRune(r)
	return appendUnit(appendUnit(b, hi), lo)
}

func appendUnit(b []byte, u rune) []byte {
	return append(b, '\\', 'u', lowerHex[u>>12&15], lowerHex[u>>8&15], lowerHex[u>>4&15], lowerHex[u&15])
}

// commonText is text between the quotes of the Common Log Format: all but the printable part of ASCII is
// \xHH.
func commonText(b, text []byte) []byte {
	start := 0
	for i, c := range text {
		if plain[c] {
			continue
		}
		b = append(b, text[start:i]...)
		b = append(b, '\\', 'x', lowerHex[c>>4], lowerHex[c&15])
		start = i + 1
	}
	return append(b, text[start:]...)
}

const lowerHex = "0123456789abcdef"

// plain bytes stand for themselves in either format.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' && c != 0x7f
	}
	return t
}()
