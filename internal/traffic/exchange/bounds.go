package exchange

import "time"

// Bounds are how much a client may send, and how long it may keep an exchange waiting. Only time that is
// spent waiting for the client counts: what an endpoint takes is bounded by the route's own timeouts.
type Bounds struct {
	// Body is how many bytes the body of a request may have; zero or less is no bound.
	Body int64
	// Idle is how long the client may make no progress, sending its body or reading its answer; zero is no
	// bound.
	Idle time.Duration
	// Ceiling is how long the body of a request may take from the moment that its head was complete, whatever
	// progress it makes; zero or less is no bound.
	Ceiling time.Duration
	// Rate is how many bytes a second the client must at least send or read, once it has been waited for
	// as long as Idle; zero or less is no bound. Without Idle there is no rate.
	Rate int64
}

// DefaultBounds are those of a client for which nothing else is said.
func DefaultBounds() Bounds {
	return Bounds{Body: 1 << 30, Idle: 30 * time.Second, Ceiling: time.Hour, Rate: 240}
}

// Admits reports whether a body may have n bytes.
func (b *Bounds) Admits(n int64) bool { return b.Body <= 0 || n <= b.Body }

// What a client is told whose body is out of bounds.
var (
	ErrBodyTooLarge = &ClientError{Status: 413, Code: CodeBodyTooLarge, Detail: "the request's body is larger than this route takes"}
	ErrBodyStalled  = &ClientError{Status: 408, Code: CodeRequestTimeout, Detail: "the request's body made no progress"}
	ErrBodySlow     = &ClientError{Status: 408, Code: CodeRequestTimeout, Detail: "the request's body came too slowly"}
	ErrBodyLong     = &ClientError{Status: 408, Code: CodeRequestTimeout, Detail: "the request's body took longer than it may in all"}
)

// Pace is the patience that is left with a client: it begins at Idle, waiting spends it, and what the
// client moves meanwhile earns it back at the rate.
type Pace struct{ spent time.Duration }

// Left returns how long the client may be waited for from now; zero or less ends it, and b must have an Idle.
func (p *Pace) Left(b *Bounds) time.Duration {
	if b.Rate <= 0 {
		return b.Idle
	}
	return b.Idle - p.spent
}

// Waited notes that the client was waited for and moved n bytes meanwhile.
func (p *Pace) Waited(b *Bounds, d time.Duration, n int) {
	if b.Rate <= 0 {
		return
	}
	earned := time.Duration(int64(n) * int64(time.Second) / b.Rate)
	p.spent = max(p.spent+d-earned, 0)
}
