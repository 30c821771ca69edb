package toska

import (
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

// backoff spaces attempts. The first after a session that held comes at once, so that a connection
// that merely broke is restored within the grace; the next ones double their pause, each with jitter,
// so that the instances of a node that restarts do not all come back together.
type backoff struct{ attempts int }

// held notes how long a session lasted: one that ended early counts as a failed attempt.
func (b *backoff) held(d time.Duration) {
	if d >= longestPause {
		b.attempts = 0
	}
}

func (b *backoff) next() time.Duration {
	n := b.attempts
	b.attempts++
	if n == 0 {
		return 0
	}
	d := longestPause
	if n <= 6 {
		d = min(longestPause, firstPause<<(n-1))
	}
	return d/2 + rand.N(d/2+1)
}

// outage logs that the mesh cannot be reached: at once, and again while it goes on.
type outage struct {
	since, told time.Time
}

func (o *outage) note(log *slog.Logger, err error) {
	now := time.Now()
	if o.since.IsZero() {
		o.since = now
	}
	if !o.told.IsZero() && now.Sub(o.told) < remindEvery {
		return
	}
	o.told = now
	log.Error("cannot reach the mesh; it is tried again until it answers, and whether the instance gets traffic meanwhile is not known",
		"error", err, "for", now.Sub(o.since).Round(time.Second))
}

func (o *outage) over(log *slog.Logger) {
	if !o.since.IsZero() {
		log.Info("the mesh answers again", "after", time.Since(o.since).Round(time.Millisecond))
	}
	*o = outage{}
}
