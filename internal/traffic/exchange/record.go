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
	// Phase is how far the exchange came; what failed, failed there.
	Phase Phase
	// Phases are how long its parts took.
	Phases Phases
	// Unlogged exchanges have no line in the access log: their route says so.
	Unlogged bool
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

// Phase is a part of an exchange by its name.
type Phase string

// The phases in their order.
const (
	// PhaseParse is the reading of the request's head.
	PhaseParse Phase = "parse"
	// PhaseMatch is the search for the route.
	PhaseMatch Phase = "match"
	// PhasePick is the choice of an endpoint.
	PhasePick Phase = "pick"
	// PhaseConnect is the connection to the endpoint, made or taken from those that are kept.
	PhaseConnect Phase = "connect"
	// PhaseSend is the sending of the request to the endpoint.
	PhaseSend Phase = "send"
	// PhaseWait is the wait for the head of the endpoint's answer, and its reading.
	PhaseWait Phase = "wait"
	// PhaseBody is the passing on of the answer, from its first byte to its last.
	PhaseBody Phase = "body"
	// PhaseTunnel is what comes after a change of the protocol.
	PhaseTunnel Phase = "tunnel"
)

// Phases are how long the parts of an exchange took; those of several attempts are added up. A zero one did
// not happen.
type Phases struct {
	// Accept is from the acceptance of the connection, behind any handshake, to the first byte of its first
	// request; zero for those after.
	Accept time.Duration
	// TLS is the handshake with the client, told with the first request of a connection.
	TLS time.Duration
	// Parse is from the first byte of the request to the end of its head.
	Parse time.Duration
	// Match is from there until a connection to the endpoint is at hand, or its dial begins, but for what Policy
	// and Queue have.
	Match time.Duration
	// Policy is what policies made the exchange wait.
	Policy time.Duration
	// Queue is what it waited for its turn.
	Queue time.Duration
	// Dial is the making of connections to endpoints, whether they came about or not.
	Dial time.Duration
	// Wait is from the connection at hand to the first byte of the answer: the request is sent within it.
	Wait time.Duration
	// Body is from the first byte of the answer to the end of the exchange.
	Body time.Duration
	// Reused says that the connection to the endpoint was one that had served before.
	Reused bool
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
