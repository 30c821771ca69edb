package span_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/signal/span"
)

func id(low uint64) (b [16]byte) {
	binary.BigEndian.PutUint64(b[8:], low)
	return b
}

func TestASamplerFollowsTheCallerAndThenTheRatio(t *testing.T) {
	low, high := id(0), id(math.MaxUint64)
	for _, tt := range []struct {
		name            string
		sampler, arg    string
		trace           [16]byte
		caller, sampled bool
		want            bool
	}{
		{"a caller that records is followed", "", "0", high, true, true, true},
		{"a caller that does not record is followed", "", "1", low, true, false, false},
		{"all traces that begin here by default", "", "", high, false, false, true},
		{"none at 0", "", "0", low, false, false, false},
		{"the lower half at 0.5", "", "0.5", low, false, false, true},
		{"not the upper half at 0.5", "", "0.5", high, false, false, false},
		{"the ratio alone overrules the caller", "traceidratio", "0.5", high, true, true, false},
		{"always on overrules the caller", "always_on", "", high, true, false, true},
		{"always off overrules the caller", "always_off", "", low, true, true, false},
		{"on by the parent", "parentbased_always_on", "", high, false, false, true},
		{"off by the parent follows a caller", "parentbased_always_off", "", low, true, true, true},
		{"off by the parent begins nothing", "parentbased_always_off", "", low, false, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := span.ParseSampler(tt.sampler, tt.arg)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Sample(tt.trace, tt.caller, tt.sampled); got != tt.want {
				t.Errorf("Sample = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestTheShareOfTracesIsTheRatio(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	s, n := span.NewSampler(0.1), 0
	for range 10_000 {
		if s.Sample(id(r.Uint64()), false, false) {
			n++
		}
	}
	if n < 850 || n > 1150 {
		t.Errorf("%d of 10,000 at 0.1", n)
	}
}

func TestASamplerThatIsNoneIsRefused(t *testing.T) {
	for _, tt := range []struct{ name, arg string }{
		{"jaeger_remote", ""}, {"", "half"}, {"", "1.1"}, {"", "-0.1"}, {"", "NaN"},
	} {
		if _, err := span.ParseSampler(tt.name, tt.arg); err == nil {
			t.Errorf("ParseSampler(%q, %q): no error", tt.name, tt.arg)
		}
	}
	if span.NewSampler(math.NaN()).Sample(id(0), false, false) {
		t.Error("a ratio that is no number samples")
	}
}
