package cli

import (
	"io"
	"strings"
	"unicode/utf8"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// What terminals understand.
const (
	clearScreen = "\x1b[H\x1b[2J"
	green       = "\x1b[32m"
	yellow      = "\x1b[33m"
	red         = "\x1b[31m"
	bold        = "\x1b[1m"
	plain       = "\x1b[0m"
)

// colours reports whether standard output is for a person who wants colours.
func (e *Env) colours() bool {
	return isTerminal(e.Stdout) && e.Getenv("NO_COLOR") == "" && e.Getenv("TERM") != "dumb"
}

type cell struct {
	text   string
	colour string
}

// table aligns columns. Widths are those of the text alone, which is why it is not text/tabwriter:
// that would count the colours too.
type table struct {
	head []string
	rows [][]cell
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer, colours bool) {
	head := make([]cell, len(t.head))
	for i, h := range t.head {
		head[i] = cell{text: h, colour: bold}
	}
	rows := append([][]cell{head}, t.rows...)
	widths := make([]int, len(t.head))
	for _, row := range rows {
		for i := range row {
			row[i].text = printable(row[i].text)
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2)
			if colours && c.colour != "" && c.text != "" {
				line.WriteString(c.colour + c.text + plain + pad)
			} else {
				line.WriteString(c.text + pad)
			}
		}
		say(w, "%s", strings.TrimRight(line.String(), " "))
	}
}

// printable keeps what others have registered from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func healthCell(h mesh.Health) cell {
	c := cell{text: h.String()}
	switch h {
	case mesh.Passing:
		c.colour = green
	case mesh.Degraded, mesh.Suspect:
		c.colour = yellow
	case mesh.Failing:
		c.colour = red
	}
	return c
}
