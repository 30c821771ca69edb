package span

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// Sampler decides which traces are recorded, when a request arrives and from its trace alone: every
// node decides the same. The zero Sampler records nothing.
type Sampler struct {
	bound    uint64 // of the last 63 bits of a trace's id
	byParent bool
}

// NewSampler records what the caller says is recorded, and of the traces that begin here a share
// between 0 and 1.
func NewSampler(ratio float64) Sampler { return Sampler{bound: boundOf(ratio), byParent: true} }

func boundOf(ratio float64) uint64 {
	switch {
	case !(ratio > 0): // not a number is none
		return 0
	case ratio >= 1:
		return 1 << 63
	}
	return uint64(ratio * (1 << 63))
}

// Sample reports whether the trace is recorded. caller says that the trace began elsewhere, and
// sampled that it is recorded there.
func (s Sampler) Sample(trace [16]byte, caller, sampled bool) bool {
	if caller && s.byParent {
		return sampled
	}
	return binary.BigEndian.Uint64(trace[8:])>>1 < s.bound
}

// ParseSampler reads the name of a sampler as OTEL_TRACES_SAMPLER gives it, and its argument as
// OTEL_TRACES_SAMPLER_ARG does. An empty name is parentbased_traceidratio; an empty argument is 1.
func ParseSampler(name, arg string) (Sampler, error) {
	ratio := 1.0
	if arg != "" {
		r, err := strconv.ParseFloat(arg, 64)
		if err != nil || !(r >= 0 && r <= 1) {
			return Sampler{}, fmt.Errorf("the share of traces to record is %q, which is no number between 0 and 1", arg)
		}
		ratio = r
	}
	switch name {
	case "", "parentbased_traceidratio":
		return NewSampler(ratio), nil
	case "traceidratio":
		return Sampler{bound: boundOf(ratio)}, nil
	case "always_on":
		return Sampler{bound: boundOf(1)}, nil
	case "always_off":
		return Sampler{}, nil
	case "parentbased_always_on":
		return NewSampler(1), nil
	case "parentbased_always_off":
		return NewSampler(0), nil
	}
	return Sampler{}, fmt.Errorf("there is no sampler %q; there are parentbased_traceidratio, traceidratio, "+
		"always_on, always_off, parentbased_always_on, parentbased_always_off", name)
}
