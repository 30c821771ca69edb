package upstream

import (
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// failuresToEject in a row put an endpoint out.
	failuresToEject = 5
	// ejectFor is the first time out; it doubles with each that follows, up to ejectMost.
	ejectFor  = 5 * time.Second
	ejectMost = 5 * time.Minute
	// restMost is how long an endpoint that was well before may ask to be left alone: what it says of one
	// request keeps all others from it.
	restMost = 30 * time.Second
)

// Ejection is a time for which an endpoint is out.
type Ejection struct {
	Since, Until time.Time
	// Why in words.
	Why string
}

// Counts are what happened at a service's endpoints since it is known. It is safe for concurrent use, and
// outlives tables.
type Counts struct{ ejections, retries atomic.Uint64 }

// Ejections returns how often an endpoint was put out.
func (c *Counts) Ejections() uint64 { return c.ejections.Load() }

// Retries returns how many attempts were made beyond the first.
func (c *Counts) Retries() uint64 { return c.retries.Load() }

// Retried counts an attempt beyond the first.
func (c *Counts) Retried() { c.retries.Add(1) }

// Ejected returns until when the endpoint is out; zero if it is not.
func (e *Endpoint) Ejected(now time.Time) time.Time {
	if until := e.until.Load(); until > now.UnixNano() {
		return time.Unix(0, until)
	}
	return time.Time{}
}

// Ejection returns the time for which the endpoint is out; nil if it is not.
func (e *Endpoint) Ejection(now time.Time) *Ejection {
	if out := e.out.Load(); out != nil && !e.Ejected(now).IsZero() {
		return out
	}
	return nil
}

// Spared reports whether the endpoint has failed often enough to be put out and is not, because half of
// those that may be picked must stay.
func (e *Endpoint) Spared(now time.Time) bool {
	if e.failures.Load() < failuresToEject || !e.Ejected(now).IsZero() {
		return false
	}
	// One that was out and is back has not been asked again.
	out, failed := e.out.Load(), e.failed.Load()
	return out == nil || failed != nil && failed.At.After(out.Until)
}

// Rest keeps an endpoint out for as long as it asked to be left alone (Retry-After): for 30 s at the most,
// unless it was put out before and has not been well since.
func (u *Upstream) Rest(e *Endpoint, d time.Duration) {
	u.putOut(e, func(n int32) (time.Duration, string) {
		most := restMost
		if n > 0 {
			most = ejectMost
		}
		return min(d, most), "it asked to be left alone (Retry-After)"
	})
}

// eject puts an endpoint out that has failed too often.
func (u *Upstream) eject(e *Endpoint) {
	u.putOut(e, func(n int32) (time.Duration, string) {
		why := fmt.Sprintf("%d attempts in a row failed", e.failures.Load())
		if f := e.failed.Load(); f != nil {
			why += ", the last with " + f.Code
		}
		return min(ejectFor<<min(n, 10), ejectMost), why
	})
}

// putOut puts an endpoint out, unless half of those that may be picked are out already: then all the
// others would drown in its stead. length is told how often it was out since it last was well. One that is
// out stays so for no shorter than it was told.
func (u *Upstream) putOut(e *Endpoint, length func(n int32) (time.Duration, string)) {
	if u.out(e, length) && u.source.Ejected != nil {
		u.source.Ejected()
	}
}

func (u *Upstream) out(e *Endpoint, length func(n int32) (time.Duration, string)) bool {
	u.ejecting.Lock()
	defer u.ejecting.Unlock()
	now := time.Now()
	if !e.Ejected(now).IsZero() {
		// It failed others that were under way when it was put out: that is no news.
		return false
	}
	out := 0
	for _, other := range u.live {
		if other != e && !other.Ejected(now).IsZero() {
			out++
		}
	}
	if out+1 > len(u.live)/2 {
		return false
	}
	d, why := length(e.ejections.Load())
	// The failures stay counted: one more when it is back, and it is out again.
	e.ejections.Add(1)
	e.out.Store(&Ejection{Since: now, Until: now.Add(d), Why: why})
	e.until.Store(now.Add(d).UnixNano())
	u.Counts.ejections.Add(1)
	return true
}
