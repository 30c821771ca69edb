package exchange

import (
	"net/netip"
	"time"
)

// Record is what one exchange leaves behind for the signals: access log now, metrics and spans later.
type Record struct {
	// Status that was answered; 0 when the client left before.
	Status int
	// Code is the stable code of what went wrong; empty when nothing did.
	Code string
	// Reason is the detail behind the code, for the log.
	Reason string
	// Service that was asked, in its registered spelling; empty when no route matched.
	Service string
	// Endpoint that answered, host:port; empty when none did.
	Endpoint string
	// Attempts that were made at endpoints.
	Attempts int
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

// Observer is told of every exchange after it ended. It must not keep x.
type Observer interface {
	Observe(x *Exchange)
}

// Peer identifies the client for logs: the address without the port.
func (r *Request) Peer() netip.Addr { return r.Client.Addr() }
