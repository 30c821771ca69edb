package routefile

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/scanner"
	"github.com/goccy/go-yaml/token"
)

// place is a line and a column, both counted from 1, the column in characters.
type place struct{ line, column int }

// form is what a node is.
type form uint8

const (
	// absent nodes are null, written out or not written at all.
	absent form = iota
	plainText
	quotedText
	number
	boolean
	mapping
	list
)

// String returns the form in words for a message.
func (f form) String() string {
	return [...]string{"nothing", "text", "text", "a number", "true or false", "a mapping", "a list"}[f]
}

// node is one value of the document.
type node struct {
	place
	form form
	// text of a scalar, without quotes and escapes.
	text    string
	entries []entry // of a mapping
	items   []*node // of a list
}

// entry is one key of a mapping with its value.
type entry struct {
	place
	key   string
	value *node
}

// tree makes nodes of tokens. The library's scanner reads the characters, which is most of what makes
// YAML hard. Its parser is not used: it takes a time that grows with the square of a mapping's size, has
// no bound on depth, and gives up on the first key that is there twice.
type tree struct {
	tokens []*token.Token
	i      int
	depth  int
}

// stop is how a tree ends early: with the place and reason that no document can be made.
type stop struct {
	place
	reason string
}

// readTree returns the root of the document, nil where there is nothing in it, or the place and reason
// that it is none.
func readTree(data []byte) (root *node, at place, reason string) {
	if at, reason := refuseBytes(data); reason != "" {
		return nil, at, reason
	}
	tokens, s := scan(string(bytes.TrimPrefix(data, []byte("\ufeff"))))
	if s != nil {
		return nil, s.place, s.reason
	}
	t := &tree{tokens: tokens}
	root, s = t.document()
	if s != nil {
		return nil, s.place, s.reason
	}
	return root, place{}, ""
}

// refuseBytes refuses what need not be scanned to be known as no configuration.
func refuseBytes(data []byte) (place, string) {
	if len(data) > MaxBytes {
		return place{1, 1}, fmt.Sprintf("the file has more than %d MiB; that is no configuration, or one to be split", MaxBytes>>20)
	}
	at := func(i int) place {
		line := data[bytes.LastIndexByte(data[:i], '\n')+1 : i]
		return place{bytes.Count(data[:i], []byte{'\n'}) + 1, utf8.RuneCount(line) + 1}
	}
	// The scanner takes far more memory than the file for each bracket: what opens that many is not
	// given to it, wherever they stand.
	const hopeless = 32 * MaxDepth
	open := 0
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return at(i), "the file is not UTF-8 here"
		case r == 0:
			return at(i), "the file holds a NUL character; is it a text file?"
		case r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f:
			return at(i), fmt.Sprintf("the file holds a control character (%U)", r)
		case r == '[' || r == '{':
			if open++; open > hopeless {
				return at(i), tooDeep
			}
		case (r == ']' || r == '}') && open > 0:
			open--
		}
		i += size
	}
	return place{}, ""
}

var tooDeep = fmt.Sprintf("nests more than %d deep", MaxDepth)

// scan returns the tokens without comments, or why there are none.
func scan(text string) ([]*token.Token, *stop) {
	var s scanner.Scanner
	s.Init(text)
	var out []*token.Token
	for {
		tokens, err := s.Scan()
		for _, t := range tokens {
			if reason := refuseToken(t); reason != "" {
				return nil, &stop{placeOf(t), reason}
			}
			if t.Type != token.CommentType {
				out = append(out, t)
			}
		}
		// The end of the text, or a token that was refused just now.
		if err != nil {
			return out, nil
		}
	}
}

func placeOf(t *token.Token) place { return place{t.Position.Line, max(1, t.Position.Column)} }

// refuseToken refuses what has no place in a configuration.
func refuseToken(t *token.Token) string {
	switch t.Type {
	case token.AnchorType:
		return "anchors (&) are not supported; write the value out where it is needed"
	case token.AliasType:
		return "aliases (*) are not supported; write the value out, or quote text that begins with *"
	case token.MergeKeyType:
		return "merge keys (<<) are not supported; write the keys out"
	case token.TagType:
		return "tags (!) are not supported; quote text that begins with !"
	case token.DirectiveType:
		return "directives (%) are not supported"
	case token.MappingKeyType:
		return "keys that begin with ? are not supported; write KEY: VALUE"
	case token.InvalidType:
		if strings.Contains(t.Error, "'\t'") {
			return "lines are indented with spaces, not with tabs"
		}
		return "is no YAML: " + strings.TrimSpace(t.Error)
	default:
		return ""
	}
}

// peek returns the next token, nil at the end.
func (t *tree) peek() *token.Token {
	if t.i == len(t.tokens) {
		return nil
	}
	return t.tokens[t.i]
}

func (t *tree) is(typ token.Type) bool { n := t.peek(); return n != nil && n.Type == typ }

// colonNext reports whether the token after the next one is the colon of a key.
func (t *tree) colonNext() bool {
	return t.i+1 < len(t.tokens) && t.tokens[t.i+1].Type == token.MappingValueType
}

// document reads the one document, whose marks are no part of it.
func (t *tree) document() (*node, *stop) {
	if t.is(token.DocumentHeaderType) {
		mark := t.peek()
		t.i++
		if next := t.peek(); next != nil && next.Position.Line == mark.Position.Line {
			return nil, &stop{placeOf(next), "stands on the line of ---; the document begins on the next one"}
		}
	}
	first := t.i
	for i, next := range t.tokens[first:] {
		if next.Type == token.DocumentHeaderType {
			return nil, &stop{placeOf(next), "a second document begins here; a configuration is one"}
		}
		if next.Type == token.DocumentEndType {
			if rest := t.tokens[first+i+1:]; len(rest) > 0 {
				return nil, &stop{placeOf(rest[0]), "follows the end of the document"}
			}
			t.tokens = t.tokens[:first+i]
			break
		}
	}
	if t.peek() == nil {
		return nil, nil
	}
	root, s := t.block(0)
	if s != nil {
		return nil, s
	}
	if next := t.peek(); next != nil {
		return nil, &stop{placeOf(next), indentation}
	}
	return root, nil
}

const indentation = "does not belong to what is above it; check the indentation"

// deeper is called around each mapping and list.
func (t *tree) deeper(at *token.Token) *stop {
	if t.depth++; t.depth > MaxDepth {
		return &stop{placeOf(at), tooDeep}
	}
	return nil
}

// block reads the value that begins at the next token, which stands in the column after or further on.
func (t *tree) block(after int) (*node, *stop) {
	next := t.peek()
	switch {
	case placeOf(next).column <= after:
		return nil, &stop{placeOf(next), indentation}
	case next.Type == token.SequenceEntryType:
		return t.blockList()
	case t.colonNext() && isScalar(next):
		return t.blockMapping()
	default:
		return t.inline()
	}
}

// inline reads a value that is neither a mapping nor a list in block form.
func (t *tree) inline() (*node, *stop) {
	next := t.peek()
	switch {
	case next.Type == token.MappingStartType || next.Type == token.SequenceStartType:
		n, s := t.flow()
		if s == nil && t.is(token.MappingValueType) {
			return nil, &stop{n.place, "a mapping or a list cannot be a key"}
		}
		return n, s
	case next.Type == token.LiteralType || next.Type == token.FoldedType:
		return t.blockText()
	case isScalar(next):
		t.i++
		return scalar(next), nil
	default:
		return nil, &stop{placeOf(next), fmt.Sprintf("%q is not expected here", next.Value)}
	}
}

// blockText reads what follows | or >.
func (t *tree) blockText() (*node, *stop) {
	n := &node{place: placeOf(t.peek()), form: quotedText}
	t.i++
	if t.is(token.StringType) {
		n.text = t.peek().Value
		t.i++
	}
	return n, nil
}

func (t *tree) blockMapping() (*node, *stop) {
	first := t.peek()
	if s := t.deeper(first); s != nil {
		return nil, s
	}
	n := &node{place: placeOf(first), form: mapping}
	for next := first; next != nil && placeOf(next).column >= n.column; next = t.peek() {
		switch {
		case next.Type == token.MappingValueType:
			return nil, &stop{placeOf(next), "a key is missing before the colon"}
		case placeOf(next).column > n.column || !isScalar(next):
			return nil, &stop{placeOf(next), indentation}
		case !t.colonNext():
			return nil, &stop{placeOf(next), "is no key: a colon and a space are missing after it"}
		}
		e, s := t.key()
		if s != nil {
			return nil, s
		}
		if e.value, s = t.entryValue(e.place, n.column); s != nil {
			return nil, s
		}
		n.entries = append(n.entries, e)
	}
	t.depth--
	return n, nil
}

// key reads a key and its colon.
func (t *tree) key() (entry, *stop) {
	k, colon := t.peek(), t.tokens[t.i+1]
	e := entry{place: placeOf(k), key: k.Value}
	if k.Position.Line != colon.Position.Line || strings.ContainsAny(k.Value, "\r\n") {
		return e, &stop{e.place, "a key and its colon are on one line; is a colon missing?"}
	}
	t.i += 2
	next := t.peek()
	if next == nil || next.Position.Line != colon.Position.Line || next.Position.Column != colon.Position.Column+1 ||
		next.Type == token.CollectEntryType || next.Type == token.MappingEndType {
		return e, nil
	}
	return e, &stop{placeOf(next), "a space is missing between the colon and this"}
}

// entryValue reads the value of the key at k, in a block mapping that stands in column. On the key's own
// line it is no block. A list may stand in the mapping's own column.
func (t *tree) entryValue(k place, column int) (*node, *stop) {
	next := t.peek()
	switch {
	case next == nil:
		return &node{place: k}, nil
	case next.Position.Line == k.line && (next.Type == token.SequenceEntryType || t.colonNext() && isScalar(next)):
		return nil, &stop{placeOf(next), "a mapping or a list begins on the line after its key, or stands in { } or [ ]"}
	case next.Position.Line == k.line:
		return t.inline()
	case next.Type == token.SequenceEntryType && placeOf(next).column == column:
		return t.blockList()
	case placeOf(next).column <= column:
		return &node{place: k}, nil
	default:
		return t.block(column)
	}
}

func (t *tree) blockList() (*node, *stop) {
	first := t.peek()
	if s := t.deeper(first); s != nil {
		return nil, s
	}
	n := &node{place: placeOf(first), form: list}
	for t.is(token.SequenceEntryType) && placeOf(t.peek()).column == n.column {
		dash := t.peek()
		t.i++
		next := t.peek()
		if next == nil || placeOf(next).column <= n.column {
			n.items = append(n.items, &node{place: placeOf(dash)})
			continue
		}
		item, s := t.block(n.column)
		if s != nil {
			return nil, s
		}
		n.items = append(n.items, item)
	}
	if next := t.peek(); next != nil && placeOf(next).column > n.column {
		return nil, &stop{placeOf(next), indentation}
	}
	t.depth--
	return n, nil
}
