package http1

import (
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// Limits bound what a client may send. DefaultLimits has the defaults; a zero admits nothing.
type Limits struct {
	// Fields in a head; default 100.
	Fields int
	// FieldBytes of one field line; default 16 KiB.
	FieldBytes int
	// HeadBytes of a whole head; default 64 KiB.
	HeadBytes int
	// TargetBytes of a request target; default 16 KiB.
	TargetBytes int
	// Body and Rate are those of exchange.Bounds, where a handler sets no others.
	Body, Rate int64
}

// DefaultLimits returns the defaults.
func DefaultLimits() Limits {
	b := exchange.DefaultBounds()
	return Limits{Fields: 100, FieldBytes: 16 << 10, HeadBytes: 64 << 10, TargetBytes: 16 << 10, Body: b.Body, Rate: b.Rate}
}

// Timeouts bound how long a peer may keep us waiting. They fire at their value or up to a quarter
// later: deadlines are pushed out only when a quarter is used up, not at each request.
type Timeouts struct {
	// Idle is how long a kept connection may wait for its next request; default 60 s.
	Idle time.Duration
	// Head is how long a head may take from its first byte; default 10 s.
	Head time.Duration
	// Stall is how long a body may make no progress in either direction, where a handler sets no other
	// bounds; default 30 s. Towards the client progress is what the system takes for it.
	Stall time.Duration
	// Body is the ceiling of exchange.Bounds, where a handler sets no others; default 1 h.
	Body time.Duration
}

// DefaultTimeouts returns the defaults.
func DefaultTimeouts() Timeouts {
	b := exchange.DefaultBounds()
	return Timeouts{Idle: 60 * time.Second, Head: 10 * time.Second, Stall: b.Idle, Body: b.Ceiling}
}

const (
	// chunkLineBytes bounds a chunk's size line with its extensions, and chunkExtensionBytes all
	// extensions of one body together (CVE-2023-39326).
	chunkLineBytes      = 4 << 10
	chunkExtensionBytes = 16 << 10
	// interimAnswers bounds the 1xx answers that an upstream may send before its final one.
	interimAnswers = 16
	// lingerBytes and lingerTime bound what is read and thrown away after an early answer, so that the
	// client reads the answer and not a reset.
	lingerBytes = 256 << 10
	lingerTime  = 2 * time.Second
	// holdTime is how long a silent tunnel keeps its buffer where it cannot wait without one.
	holdTime = time.Second
	// crossTime is how long a drained connection may still bring the request that was on its way.
	crossTime = 50 * time.Millisecond
)
