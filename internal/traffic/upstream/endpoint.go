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

	target Target
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
	// misses in a row of a time that was short, and whether it answered since a row of any endpoint began.
	misses   atomic.Int32
	answered atomic.Bool
	// failed is the last failure, out the last ejection; nil for none.
	failed atomic.Pointer[Failure]
	out    atomic.Pointer[Ejection]
}

// Failure is what an attempt found wrong with its endpoint.
type Failure struct {
	// Code of what went wrong.
	Code string
	At   time.Time
}

const (
	// warmUp is how long a new endpoint takes to its full share.
	warmUp = 10 * time.Second
	// leastShare is what it begins with.
	leastShare = 0.1
	// missesToCount in a row make a short time that is missed a failure.
	missesToCount = 3
)

// Proxy returns the version of the PROXY header that each connection must begin with; 0 for none.
func (e *Endpoint) Proxy() int { return e.target.Proxy }

// Weight implements balance.Member.
func (e *Endpoint) Weight() int { return e.weight }

// InFlight implements balance.Member.
func (e *Endpoint) InFlight() int64 { return e.inFlight.Load() }

// Failures returns how many attempts have failed in a row, and the last of all that did: nil if none has.
func (e *Endpoint) Failures() (inARow int, last *Failure) {
	return int(e.failures.Load()), e.failed.Load()
}

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
		return float64(dice)/(1<<32) < 1-share(left)
	}
	e.warm.CompareAndSwap(warm, 0)
	return false
}

// share is what an endpoint gets with so many nanoseconds left until it is warm.
func share(left int64) float64 { return 1 - (1-leastShare)*float64(left)/float64(warmUp) }

// Share returns what of its full share the endpoint gets: 0 while it is ejected, then from 0.1 up to 1.
func (e *Endpoint) Share(now time.Time) float64 {
	until, warm := e.until.Load(), e.warm.Load()
	switch left := warm - now.UnixNano(); {
	case until > now.UnixNano():
		return 0
	case until != 0:
		return leastShare // its warm-up begins with the next pick
	case left > 0:
		return share(min(left, int64(warmUp)))
	}
	return 1
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
	// Missed attempts had no answer when the caller's time was over, which was too short to say much: whose
	// fault that is shows in a row. From the third of them without an answer in between it is the
	// endpoint's, if another endpoint has answered meanwhile.
	Missed
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
		if e.misses.Load() != 0 {
			e.misses.Store(0)
		}
		if !e.answered.Load() {
			e.answered.Store(true)
		}
		if e.ejections.Load() != 0 && e.until.Load() == 0 && e.warm.Load() == 0 {
			e.ejections.Store(0)
		}
	case Missed:
		if u.miss(e) {
			u.fail(e)
		}
	case Failed:
		u.fail(e)
	}
}

func (u *Upstream) fail(e *Endpoint) {
	if e.failures.Add(1) >= failuresToEject {
		u.eject(e)
	}
}

// miss reports whether a miss is the endpoint's fault.
func (u *Upstream) miss(e *Endpoint) bool {
	n := e.misses.Add(1)
	for _, other := range u.live {
		switch {
		case other == e:
		case n == 1:
			other.answered.Store(false)
		case n >= missesToCount && other.answered.Load():
			return true
		}
	}
	return false
}

// Blame notes what an attempt found wrong with its endpoint, before its release.
func (e *Endpoint) Blame(code string) { e.failed.Store(&Failure{Code: code, At: time.Now()}) }
