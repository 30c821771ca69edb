package exchange

import (
	"encoding/hex"
	"math/rand/v2"
)

// Trace is a W3C trace context (https://www.w3.org/TR/trace-context/): the trace goes on, and each
// hop is a new parent.
type Trace struct {
	id     [16]byte
	parent [8]byte
	caller [8]byte // the parent before ours
	flags  byte
}

// NewTrace starts an unsampled trace.
func NewTrace() Trace {
	var t Trace
	put(t.id[:8], rand.Uint64()|1)
	put(t.id[8:], rand.Uint64())
	put(t.parent[:], rand.Uint64()|1)
	return t
}

// ParseTrace reads a traceparent field. ok is false for one that the specification says to ignore.
func ParseTrace(b []byte) (t Trace, ok bool) {
	// version "-" trace-id "-" parent-id "-" flags
	if len(b) < 55 || b[2] != '-' || b[35] != '-' || b[52] != '-' || (len(b) > 55 && (b[1] == '0' && b[0] == '0' || b[55] != '-')) {
		return t, false
	}
	var version, flags [1]byte
	if !unhex(version[:], b[:2]) || version[0] == 0xff || !unhex(t.id[:], b[3:35]) || !unhex(t.parent[:], b[36:52]) || !unhex(flags[:], b[53:55]) {
		return Trace{}, false
	}
	if t.id == [16]byte{} || t.parent == [8]byte{} {
		return Trace{}, false
	}
	t.flags = flags[0] & 1
	return t, true
}

// Child returns the context to pass on: the same trace with a new parent.
func (t Trace) Child() Trace {
	t.caller = t.parent
	put(t.parent[:], rand.Uint64()|1)
	return t
}

// ID returns the trace id.
func (t *Trace) ID() [16]byte { return t.id }

// Span returns the id of the span that this hop is: the parent of what comes after.
func (t *Trace) Span() [8]byte { return t.parent }

// Caller returns the id of the span that this hop continues; zero for a trace that began here.
func (t *Trace) Caller() [8]byte { return t.caller }

// Sampled reports whether the trace is being recorded.
func (t *Trace) Sampled() bool { return t.flags&1 != 0 }

// Sample says to those behind whether the trace is being recorded.
func (t *Trace) Sample(on bool) {
	t.flags = 0
	if on {
		t.flags = 1
	}
}

// AppendID appends the trace id in 32 hexadecimal digits.
func (t *Trace) AppendID(b []byte) []byte { return hex.AppendEncode(b, t.id[:]) }

// AppendParent appends the value of a traceparent field.
func (t *Trace) AppendParent(b []byte) []byte {
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, t.id[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, t.parent[:])
	return append(b, '-', '0', '0'+t.flags)
}

func put(b []byte, v uint64) {
	for i := range b {
		b[i] = byte(v)
		v >>= 8
	}
}

// unhex decodes lower-case digits only, as the specification demands.
func unhex(dst, src []byte) bool {
	for i := range dst {
		hi, lo := digit(src[2*i]), digit(src[2*i+1])
		if hi > 15 || lo > 15 {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}
