package probe

import (
	"sync/atomic"
	"time"
)

// latenessBounds are the upper bounds of the buckets of lateness, beside an infinite one.
var latenessBounds = [...]time.Duration{
	time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second,
}

// Meter counts what probes find and how late they start. The zero value is ready; it outlives the
// schedulers that count into it.
type Meter struct {
	results  [2][2]atomic.Uint64 // by kind and success
	lateness [len(latenessBounds) + 1]atomic.Uint64
	late     atomic.Int64 // sum, in nanoseconds
}

// Counts are the numbers of a Meter at one moment.
type Counts struct {
	// Passed and Failed probes by kind.
	HTTPPassed, HTTPFailed, TCPPassed, TCPFailed uint64
	// Lateness of their starts.
	Lateness Lateness
}

// Lateness is a histogram of how long after they were due probes started.
type Lateness struct {
	// Bounds are the upper bounds of the buckets in ascending order, and Cumulative counts those at or
	// below each of them.
	Bounds     []time.Duration
	Cumulative []uint64
	Count      uint64
	Sum        time.Duration
}

// Counts returns the numbers so far.
func (m *Meter) Counts() Counts {
	c := Counts{
		HTTPPassed: m.results[0][0].Load(), HTTPFailed: m.results[0][1].Load(),
		TCPPassed: m.results[1][0].Load(), TCPFailed: m.results[1][1].Load(),
	}
	l := &c.Lateness
	l.Bounds, l.Sum = latenessBounds[:], time.Duration(m.late.Load())
	for i := range m.lateness {
		l.Count += m.lateness[i].Load()
		if i < len(latenessBounds) {
			l.Cumulative = append(l.Cumulative, l.Count)
		}
	}
	return c
}

func (m *Meter) started(late time.Duration) {
	late = max(late, 0)
	i := 0
	for i < len(latenessBounds) && late > latenessBounds[i] {
		i++
	}
	m.lateness[i].Add(1)
	m.late.Add(int64(late))
}

func (m *Meter) ended(t *Target, ok bool) {
	kind, result := 0, 0
	if t.Check.HTTP == "" {
		kind = 1
	}
	if !ok {
		result = 1
	}
	m.results[kind][result].Add(1)
}
