package lifecycle

import (
	"math/rand/v2"
	"time"
)

const (
	backoffMin = 250 * time.Millisecond
	// backoffMax and its jitter of a quarter make 15 s, the longest pause.
	backoffMax = 12 * time.Second
	// stableAfter is how long a unit must have been ready for its next failure to count as the first.
	stableAfter = time.Minute
)

// backoff is the pause before a unit's next start; its zero value is before the first failure.
type backoff struct{ failures int }

// next returns how long to pause, given how long the unit had been ready before it failed.
func (b *backoff) next(wasReady time.Duration) time.Duration {
	if wasReady >= stableAfter {
		b.failures = 0
	}
	d := backoffMin
	for range b.failures {
		d = min(2*d, backoffMax)
	}
	// Only as far as it changes the pause, so that years of failures count to a handful.
	if d < backoffMax {
		b.failures++
	}
	return d + rand.N(d/4)
}
