// Package exchangetest is the contract of the exchange port as a test, which every protocol runs: what
// a handler may rely on, whatever carried its exchange.
package exchangetest

import (
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// Open serves a handler behind a protocol and returns a client of it. What it opens is closed by the
// test's cleanup.
type Open func(t testing.TB, h exchange.Handler) Client

// Client is the far end of a connection that the protocol serves.
type Client interface {
	// Start sends the head of a request. One stream at a time, unless the protocol can do more.
	Start(r Request) Stream
	// HalfClose says that nothing more comes from the client, and reports whether the protocol can say
	// so without breaking the connection; otherwise it does nothing.
	HalfClose() bool
	// Close breaks the connection.
	Close()
}

// Stream is one exchange as its client sees it. Sending and receiving may go on at the same time, in
// one goroutine each. After an answer of 101 Write and Read are the two ways of the tunnel.
type Stream interface {
	// Write sends a piece of the request's body, and waits while the other end takes none.
	Write(p []byte) error
	// End ends the request's body, with trailers if it is of unknown length.
	End(trailers ...Field) error
	// Cancel gives the exchange up in a way that the server learns of.
	Cancel()
	// Interim waits for an interim answer. The next one that comes may be final: then it reports false
	// and Answer returns it.
	Interim() (status int, fields []Field, ok bool)
	// Answer waits for the final head.
	Answer() (Answer, error)
	// Read reads the answer's body: io.EOF at its end, another error where it was cut.
	Read(p []byte) (int, error)
	// Trailers returns those of the answer, after Read said io.EOF.
	Trailers() []Field
}

// Field is a name and a value.
type Field struct{ Name, Value string }

// Request is what a client asks.
type Request struct {
	Method string
	// Target is the path with its query.
	Target string
	Fields []Field
	// Length of the body; exchange.Unknown for one whose end is not known, 0 for none.
	Length int64
	// Expect asks to be told before the body is sent.
	Expect bool
	// Trailers says that the client takes trailers.
	Trailers bool
	// WebSocket asks for a tunnel.
	WebSocket bool
}

// Answer is the head that a client was given.
type Answer struct {
	Status int
	Fields []Field
	// Length as the head says it; exchange.Unknown where it does not.
	Length int64
}

// Get returns the value of the first field of that name; names are compared without case.
func (a Answer) Get(name string) string {
	for _, f := range a.Fields {
		if exchange.EqualFold([]byte(f.Name), name) {
			return f.Value
		}
	}
	return ""
}
