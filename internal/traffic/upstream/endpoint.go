package upstream

import (
	"sync/atomic"
	"time"
)

// Connections are an endpoint's: whoever forwards knows what they are.
type Connections interface {
	// Sweep closes those that have lain idle for too long.
	Sweep(now time.Time)
	// Close closes the idle ones, and the others when they are given back.
	Close()
}

// Endpoint is an address that may be dialled, with its live state.
type Endpoint struct {
	// ID is the instance's; of an endpoint outside the registry the address.
	ID string
	// Addr is host:port.
	Addr string
	// Connections to the address.
	Connections Connections

	weight int
	*live
}

// live is the state that outlives a rebuilt table.
type live struct {
	inFlight atomic.Int64
	// failures in a row, how often it was ejected since it last was well, and until when it is.
	failures  atomic.Int32
	ejections atomic.Int32
	until     atomic.Int64 // Unix nanoseconds; 0: not ejected
	// warm is when the endpoint gets its full share; Unix nanoseconds, 0 once it does.
	warm atomic.Int64
}

const (
	// failuresToEject in a row put an endpoint out.
	failuresToEject = 5
	// ejectFor is the first time out; it doubles with each that follows, up to ejectMost.
	ejectFor  = 5 * time.Second
	ejectMost = 5 * time.Minute
	// warmUp is how long a new endpoint takes to its full share.
	warmUp = 10 * time.Second
)

// Weight implements balance.Member.
func (e *Endpoint) Weight() int { return e.weight }

// InFlight implements balance.Member.
func (e *Endpoint) InFlight() int64 { return e.inFlight.Load() }

// Avoid implements balance.Member.
func (e *Endpoint) Avoid(dice uint32) bool {
	until, warm := e.until.Load(), e.warm.Load()
	if until == 0 && warm == 0 {
		return false
	}
	now := time.Now().UnixNano()
	if until > now {
		return true
	}
	if until != 0 && e.until.CompareAndSwap(until, 0) {
		e.warm.Store(now + int64(warmUp))
		warm = now + int64(warmUp)
	}
	if left := warm - now; left > 0 {
		// A tenth of its share at once, the rest as time passes.
		return float64(dice)/(1<<32) < 0.9*float64(left)/float64(warmUp)
	}
	e.warm.CompareAndSwap(warm, 0)
	return false
}

// Ejected returns until when the endpoint is out; zero if it is not.
func (e *Endpoint) Ejected(now time.Time) time.Time {
	if until := e.until.Load(); until > now.UnixNano() {
		return time.Unix(0, until)
	}
	return time.Time{}
}

// Outcome is what an attempt says of its endpoint.
type Outcome uint8

const (
	// Neutral attempts say nothing: the client left or was at fault.
	Neutral Outcome = iota
	// Served attempts brought an answer that the endpoint meant.
	Served
	// Failed attempts found it away, mute, malformed, or answering 502, 503 or 504.
	Failed
)

// Release ends what Acquire began and takes its outcome into account.
func (u *Upstream) Release(e *Endpoint, o Outcome) {
	e.inFlight.Add(-1)
	switch o {
	case Neutral:
	case Served:
		if e.failures.Load() != 0 {
			e.failures.Store(0)
		}
		if e.ejections.Load() != 0 && e.until.Load() == 0 && e.warm.Load() == 0 {
			e.ejections.Store(0)
		}
	case Failed:
		if e.failures.Add(1) >= failuresToEject {
			n := min(e.ejections.Add(1)-1, 10)
			u.eject(e, min(ejectFor<<n, ejectMost))
		}
	}
}

// Rest keeps an endpoint out for as long as it asked to be left alone (Retry-After).
func (u *Upstream) Rest(e *Endpoint, d time.Duration) { u.eject(e, min(d, ejectMost)) }

// eject puts an endpoint out, unless half of those that may be picked are out already: then all the
// others would drown in its stead.
func (u *Upstream) eject(e *Endpoint, d time.Duration) {
	u.ejecting.Lock()
	defer u.ejecting.Unlock()
	now := time.Now()
	out := 0
	for _, other := range u.live {
		if other != e && !other.Ejected(now).IsZero() {
			out++
		}
	}
	if out+1 > len(u.live)/2 {
		return
	}
	e.failures.Store(0)
	e.until.Store(now.Add(d).UnixNano())
}
