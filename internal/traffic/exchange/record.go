package exchange

import (
	"net/netip"
	"time"
)

// Record is what one exchange leaves behind for the signals: access log, metrics and spans.
type Record struct {
	// Status that was answered; 0 when the client left before.
	Status int
	// Code is the stable code of what went wrong; empty when nothing did.
	Code string
	// Reason is the detail behind the code, for the log.
	Reason string
	// Service that was asked, in its registered spelling; empty when no route matched.
	Service string
	// Route that was taken, by its name; empty for the prefix, and when no route matched.
	Route string
	// Signal is what the observer holds on to from the moment the service is known to the end; nobody
	// else reads it.
	Signal any
	// Endpoint that answered, host:port; empty when none did.
	Endpoint string
	// Attempts that were made at endpoints.
	Attempts int
	// Tried are the attempts in their order when there was more than one; nil for one, or none.
	Tried []Attempt
	// FirstByte is when the upstream's answer began; zero when it did not.
	FirstByte time.Time
	// Done is when the exchange ended.
	Done time.Time
	// BytesIn and BytesOut count body bytes.
	BytesIn, BytesOut int64
	// Upgraded exchanges became a tunnel.
	Upgraded bool
	// ClientGone says that the client left before the end.
	ClientGone bool
}

// Attempt is one try at one endpoint.
type Attempt struct {
	// Endpoint, host:port.
	Endpoint string
	// Code of why it was not the last, or of what came of the last one; empty for one that served.
	Code string
	// Reason is the detail behind the code.
	Reason string
}

// Observer is told of every exchange after it ended. It must not keep x.
type Observer interface {
	Observe(x *Exchange)
}

// Peer identifies the client for logs, without a port: the one that a trusted proxy speaks for, else
// the peer of the connection.
func (r *Request) Peer() netip.Addr {
	if r.Origin.IsValid() {
		return r.Origin
	}
	return r.Client.Addr()
}
