// Package span holds what the mesh records of the exchanges that belong to a sampled trace.
//
// # Concurrency
//
// Spans and samplers are values. A Recorder is safe for concurrent use.
package span

import "time"

// Kind is the side of a call that a span is about, as in OpenTelemetry.
type Kind uint8

const (
	// Server spans are of a request that was served here.
	Server Kind = iota
	// Client spans are of a request that was made here.
	Client
	// Internal spans are of work inside.
	Internal
)

// Status says how the work ended, as in OpenTelemetry.
type Status uint8

const (
	// Unset is the status of what ended in a way that is no error here.
	Unset Status = iota
	// OK is the status of what somebody declared to be well.
	OK
	// Error is the status of what failed.
	Error
)

// Span is one piece of work that belongs to a trace. It holds no memory of the exchange that it tells
// of. Empty fields are not told.
type Span struct {
	Trace [16]byte
	ID    [8]byte
	// Parent is zero for the first span of a trace.
	Parent [8]byte
	Name   string
	Kind   Kind
	Start  time.Time
	End    time.Time
	Status Status

	Method string
	// Path is without the query: that is where secrets are.
	Path   string
	Scheme string
	// Version of HTTP, as in "1.1".
	Version    string
	Route      string
	Service    string
	Endpoint   string
	StatusCode int
	// Code is the stable code of what went wrong, and Reason the detail behind it.
	Code, Reason string
	Attempts     int
	RequestID    string
	Client       string
	// BytesIn and BytesOut count body bytes.
	BytesIn, BytesOut int64
}

// Recorder takes spans. Record never waits: what cannot be taken is dropped and counted.
type Recorder interface {
	Record(s Span)
}
