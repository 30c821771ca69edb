package routefile

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/toska-mesh/toska-mesh/internal/util/nearest"
)

// value is a node to be read, and where what is wrong with it is told.
type value struct {
	p    *parsing
	into *Problems
	// within is true inside of an object, whose mistakes are not fatal.
	within bool
	path   string
	*node
}

// field is a key that a mapping may have.
type field struct {
	key  string
	read func(value)
}

func (v value) report(at place, path, reason, near string) {
	v.into.add(Problem{Origin: v.p.origin(at), Path: path, Reason: reason, Nearest: near, Fatal: !v.within})
}

// wrong reports what is wrong with the value itself.
func (v value) wrong(format string, args ...any) {
	v.report(v.place, v.path, fmt.Sprintf(format, args...), "")
}

// child is the value n of a key.
func (v value) child(key string, n *node) value {
	v.path, v.node = join(v.path, key), n
	return v
}

func join(path, key string) string {
	if len(key) > maxShown || strings.ContainsFunc(key, func(r rune) bool { return !unicode.IsPrint(r) }) {
		key = shorten(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// is reports whether the value has the form that is wanted, and what is wrong if it has not.
func (v value) is(want form, example string) bool {
	if v.form == want {
		return true
	}
	v.wrong("is %s; it wants %s, such as %s", v.form, want, example)
	return false
}

// fields reads a mapping by its table. Keys that are not in it, or twice in the mapping, are reported.
func (v value) fields(table []field) {
	if !v.is(mapping, "{"+table[0].key+": …}") {
		return
	}
	seen := make(map[string]place, len(v.entries))
	for _, e := range v.entries {
		i := slices.IndexFunc(table, func(f field) bool { return f.key == e.key })
		switch before, twice := seen[e.key]; {
		case i < 0:
			v.unknown(e, table)
			continue
		case twice:
			v.report(e.place, join(v.path, e.key), fmt.Sprintf("is here twice, first in line %d", before.line), "")
			continue
		}
		seen[e.key] = e.place
		table[i].read(v.child(e.key, e.value))
	}
}

func (v value) unknown(e entry, table []field) {
	words := make([]string, len(table))
	for i, f := range table {
		words[i] = f.key
	}
	slices.Sort(words)
	near := nearest.Word(e.key, words)
	reason := "unknown key"
	if near == "" {
		reason += "; known here: " + strings.Join(words, ", ")
	}
	v.report(e.place, join(v.path, e.key), reason, near)
}

// list calls read for each item of a list.
func (v value) list(example string, read func(value)) {
	if !v.is(list, example) {
		return
	}
	for i, n := range v.items {
		item := v
		item.path, item.node = fmt.Sprintf("%s[%d]", v.path, i), n
		read(item)
	}
}

// str reads text that is not empty.
func (v value) str(example string) (string, bool) {
	switch {
	case v.form == number || v.form == boolean:
		v.wrong("is %s; put it into quotes to make it text", v.form)
	case v.form != plainText && v.form != quotedText:
		v.is(plainText, example)
	case v.text == "":
		v.wrong("is empty; it wants text, such as %s", example)
	default:
		return v.text, true
	}
	return "", false
}

// word reads one of several words.
func (v value) word(words ...string) (string, bool) {
	s, ok := v.str(words[0])
	if !ok {
		return "", false
	}
	if !slices.Contains(words, s) {
		v.report(v.place, v.path, fmt.Sprintf("%s is not %s", shorten(s), orList(words)), nearest.Word(s, words))
		return "", false
	}
	return s, true
}

// flag reads true or false; what is neither is told, and false.
func (v value) flag() bool {
	if v.form != boolean {
		near := map[string]string{"yes": "true", "on": "true", "no": "false", "off": "false"}[strings.ToLower(v.text)]
		v.report(v.place, v.path, "is "+v.form.String()+"; it wants true or false", near)
		return false
	}
	return strings.EqualFold(v.text, "true")
}

// count reads a whole number from 1; any other is told, and 0.
func (v value) count(largest int) int {
	if !v.is(number, "1") {
		return 0
	}
	n, ok := v.integer()
	if !ok || n < 1 || n > largest {
		v.wrong("%s is not a whole number from 1 to %d", shorten(v.text), largest)
		return 0
	}
	return n
}

// maxDuration bounds every duration.
const maxDuration = 24 * time.Hour

// duration reads a duration of at least 1 ms; what is none is told, and 0.
func (v value) duration() time.Duration {
	if v.form == number {
		v.report(v.place, v.path, v.text+" has no unit", unitOf(v.node, "s"))
		return 0
	}
	s, ok := v.str("2s")
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		v.wrong("%s is no duration; it wants a number and ms, s, m or h, such as 500ms or 2s", shorten(s))
	case d < time.Millisecond || d > maxDuration:
		v.wrong("%s is not from 1ms to 24h", shorten(s))
	default:
		return d
	}
	return 0
}

// unitOf suggests a number with a unit.
func unitOf(n *node, unit string) string {
	if _, ok := n.real(); !ok {
		return ""
	}
	return n.text + unit
}

// sizes are the units of sizes.
var sizes = []struct {
	unit  string
	bytes int
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}}

// size reads a number of bytes with its unit; what is none, or out of bounds, is told, and 0.
func (v value) size(least, largest int) int {
	if v.form == number {
		v.report(v.place, v.path, v.text+" has no unit", unitOf(v.node, "B"))
		return 0
	}
	s, ok := v.str("16KiB")
	if !ok {
		return 0
	}
	digits := strings.TrimRight(s, "BKMGTabcdefghijklmnopqrstuvwxyz")
	n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 31)
	unit := s[len(digits):]
	for _, u := range sizes {
		if err != nil || unit != u.unit {
			continue
		}
		if n > uint64(largest) || int(n)*u.bytes < least || int(n)*u.bytes > largest {
			v.wrong("%s is not from %s to %s", shorten(s), sizeText(least), sizeText(largest))
			return 0
		}
		return int(n) * u.bytes
	}
	near := ""
	if err == nil {
		near = map[string]string{"K": "KiB", "KB": "KiB", "kb": "KiB", "k": "KiB", "kib": "KiB", "Kib": "KiB",
			"M": "MiB", "MB": "MiB", "mb": "MiB", "m": "MiB", "mib": "MiB", "Mib": "MiB", "b": "B",
			"G": "GiB", "GB": "GiB", "gb": "GiB", "g": "GiB", "gib": "GiB", "Gib": "GiB"}[unit]
	}
	if near != "" {
		near = strings.TrimSpace(digits) + near
	}
	v.report(v.place, v.path, shorten(s)+" is no size; it wants a number and B, KiB, MiB or GiB, such as 16KiB", near)
	return 0
}

func sizeText(n int) string {
	for _, u := range sizes[:3] {
		if n%u.bytes == 0 && (n/u.bytes < 1<<10 || u.unit == "GiB") {
			return fmt.Sprint(n/u.bytes, u.unit)
		}
	}
	return fmt.Sprint(n, "B")
}

// percent reads a share as 0 to 1.
func (v value) percent() (float64, bool) {
	if v.form == number {
		near := ""
		if f, ok := v.real(); ok && f >= 0 && f <= 1 {
			near = strconv.FormatFloat(math.Round(f*1e4)/1e2, 'g', -1, 64) + "%"
		}
		v.report(v.place, v.path, v.text+" is no percentage", near)
		return 0, false
	}
	s, ok := v.str("20%")
	if !ok {
		return 0, false
	}
	digits, isPercent := strings.CutSuffix(s, "%")
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil || !isPercent || strings.ContainsAny(digits, "eExX_+-nNiI") || f > 100 {
		v.wrong("%s is not a percentage from 0%% to 100%%", shorten(s))
		return 0, false
	}
	return f / 100, true
}

// ratio reads a number from 0 to 1.
func (v value) ratio() (float64, bool) {
	if !v.is(number, "0.1") {
		return 0, false
	}
	f, ok := v.real()
	if !ok || f < 0 || f > 1 {
		v.wrong("%s is not from 0 to 1", shorten(v.text))
		return 0, false
	}
	return f, true
}

// maxShown is how much of a value a message shows.
const maxShown = 64

// shorten quotes a value of unknown length for a message.
func shorten(s string) string {
	if len(s) <= maxShown {
		return strconv.Quote(s)
	}
	return strconv.Quote(strings.ToValidUTF8(s[:maxShown], "")) + "…"
}

// orList joins words as in "a, b or c".
func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
