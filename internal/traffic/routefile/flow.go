package routefile

import (
	"fmt"
	"math"
	"strconv"

	"github.com/goccy/go-yaml/token"
)

// flow reads a mapping in braces or a list in brackets.
func (t *tree) flow() (*node, *stop) {
	open := t.peek()
	if s := t.deeper(open); s != nil {
		return nil, s
	}
	n := &node{place: placeOf(open), form: list}
	end, closing, item := token.SequenceEndType, "]", t.flowItem
	if open.Type == token.MappingStartType {
		n.form, end, closing, item = mapping, token.MappingEndType, "}", t.flowEntry
	}
	t.i++
	for !t.is(end) {
		if t.peek() == nil {
			return nil, &stop{n.place, fmt.Sprintf("%q is not closed", open.Value)}
		}
		if s := item(n); s != nil {
			return nil, s
		}
		switch next := t.peek(); {
		case next != nil && next.Type == token.CollectEntryType:
			t.i++
		case next != nil && next.Type != end:
			return nil, &stop{placeOf(next), fmt.Sprintf("a comma or %q is missing before this", closing)}
		}
	}
	t.i++
	t.depth--
	return n, nil
}

func (t *tree) flowItem(n *node) *stop {
	if t.colonNext() && isScalar(t.peek()) {
		return &stop{placeOf(t.peek()), "a mapping in a list stands in { }"}
	}
	item, s := t.flowValue()
	n.items = append(n.items, item)
	return s
}

func (t *tree) flowEntry(n *node) *stop {
	next := t.peek()
	if !isScalar(next) {
		return &stop{placeOf(next), fmt.Sprintf("%q stands where a key is expected", next.Value)}
	}
	if !t.colonNext() {
		return &stop{placeOf(next), "is no key: a colon and a space are missing after it"}
	}
	e, s := t.key()
	if s != nil {
		return s
	}
	if t.is(token.CollectEntryType) || t.is(token.MappingEndType) {
		e.value = &node{place: e.place}
	} else if e.value, s = t.flowValue(); s != nil {
		return s
	}
	n.entries = append(n.entries, e)
	return nil
}

func (t *tree) flowValue() (*node, *stop) {
	next := t.peek()
	switch {
	case next == nil:
		return nil, &stop{placeOf(t.tokens[t.i-1]), "the file ends in the middle of a value"}
	case next.Type == token.MappingStartType || next.Type == token.SequenceStartType:
		return t.flow()
	case isScalar(next):
		t.i++
		return scalar(next), nil
	default:
		return nil, &stop{placeOf(next), fmt.Sprintf("%q stands where a value is expected", next.Value)}
	}
}

// isScalar reports whether a token is a whole value of its own.
func isScalar(t *token.Token) bool {
	switch t.Type {
	case token.StringType, token.SingleQuoteType, token.DoubleQuoteType, token.IntegerType,
		token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType, token.FloatType, token.BoolType,
		token.NullType, token.InfinityType, token.NanType:
		return true
	default:
		return false
	}
}

func scalar(t *token.Token) *node {
	n := &node{place: placeOf(t), text: t.Value, form: plainText}
	switch t.Type {
	case token.SingleQuoteType, token.DoubleQuoteType:
		n.form = quotedText
	case token.NullType:
		n.form = absent
	case token.BoolType:
		n.form = boolean
	case token.IntegerType, token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType,
		token.FloatType, token.InfinityType, token.NanType:
		n.form = number
	default:
	}
	return n
}

// integer reads a decimal number without a sign or a point; ok is false for any other.
func (n *node) integer() (_ int, ok bool) {
	if n.form != number {
		return 0, false
	}
	i, err := strconv.ParseUint(n.text, 10, 32)
	return int(i), err == nil
}

// real reads a decimal number; ok is false for anything else.
func (n *node) real() (_ float64, ok bool) {
	if n.form != number {
		return 0, false
	}
	f, err := strconv.ParseFloat(n.text, 64)
	return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
}
