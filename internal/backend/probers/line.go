package probers

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxLine is how long the output of a probe is, in bytes.
const maxLine = 256

// line makes one line of what an instance says, that can be shown: without control characters and what
// turns the direction of text around, and with every row of spaces as one.
func line(s string) string {
	var b strings.Builder
	space := false
	for _, r := range s {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			space = b.Len() > 0
			continue
		}
		size := utf8.RuneLen(r)
		if space {
			size++
		}
		if b.Len()+size > maxLine {
			break
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}
