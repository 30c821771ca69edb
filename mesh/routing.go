package mesh

import (
	"context"
	"time"
)

// Routing is what a node with a gateway offers of its routes and of what it sees of endpoints.
type Routing interface {
	// Routes returns what is in force, in the order in which it is tried, the gateway's own paths and the
	// prefix among the configured routes, then the routes that are quarantined, in the order in which they
	// were written.
	Routes(ctx context.Context) ([]RouteStatus, error)
	// Upstreams returns what the gateway picks from, by service: those of one service, without case, or all
	// of them where it is empty. A service that it does not know is an empty list.
	Upstreams(ctx context.Context, service string) ([]UpstreamStatus, error)
}

// The states of a route.
const (
	RouteInForce     = "in force"
	RouteQuarantined = "quarantined"
)

// The kinds of a route.
const (
	// RouteConfigured routes were written by somebody.
	RouteConfigured = "route"
	// RouteInternal is a path that the gateway's port answers by itself.
	RouteInternal = "internal"
	// RoutePrefix is the prefix under which services are found by their names.
	RoutePrefix = "prefix"
)

// RouteStatus is one route as the gateway has it.
type RouteStatus struct {
	Name string
	// Kind is RouteConfigured, RouteInternal or RoutePrefix.
	Kind string
	// Hosts that the route takes; none takes every host.
	Hosts []string
	// Path is the pattern as text: "/orders" for one path, "/orders/…" for it and all below it, "/…" for
	// every path.
	Path string
	// Exact is the one path that the route takes, Prefix the path that it takes with all below it; without
	// either it takes every path.
	Exact, Prefix string
	// Methods that the route takes; none takes all.
	Methods []string
	// Service that answers; empty where the path names it, and for the gateway's own.
	Service string
	// StripPrefix is taken off the front of the path, ReplacePrefix put in the place of Prefix.
	StripPrefix, ReplacePrefix string
	// UpstreamHost is what the endpoint is told as Host: "keep" for the client's own, "upstream" for its
	// address, or a name.
	UpstreamHost string
	// EncodedSlash says that %2F passes.
	EncodedSlash bool
	// Timeouts and Retry as they are in force, with what the service and the defaults say.
	Timeouts RouteTimeouts
	Retry    RouteRetry
	// Origin is where the route was written, as file:line:column; empty for what was not.
	Origin string
	// State is RouteInForce or RouteQuarantined.
	State string
	// Reason is why the route is quarantined; empty for one in force.
	Reason string
	// Warning is what is odd about a route in force, such as that it hides others; usually empty.
	Warning string
}

// RouteTimeouts bound an exchange. Zero is no bound.
type RouteTimeouts struct {
	// Connect bounds the dial, PerTry the wait for the head of an answer, Idle the time in which a body may
	// make no progress, Total all attempts together until an answer begins.
	Connect, PerTry, Idle, Total time.Duration
}

// RouteRetry says how often a request is tried.
type RouteRetry struct {
	// Attempts at endpoints, the first among them.
	Attempts int
	// Budget is the share of a service's requests that may be tried again.
	Budget float64
	// AllMethods tries again what is not idempotent too.
	AllMethods bool
}

// Where the endpoints of an upstream are from.
const (
	UpstreamRegistry = "registry"
	UpstreamFile     = "file"
)

// UpstreamStatus is what the gateway picks from for one service.
type UpstreamStatus struct {
	Service string
	// Source is UpstreamRegistry or UpstreamFile.
	Source string
	// Origin is where the file has the service, as file:line:column; empty where it says nothing of it.
	Origin string
	// Overridden is how many instances of the registry the endpoints of the file stand in the place of.
	Overridden int
	// Quarantined is why the file's entry for the service was refused; empty if it was not. Without
	// endpoints the service is answered 503 until the entry is mended, otherwise its last good one holds.
	Quarantined string
	// Why says why there is no endpoint to pick; empty if there is one.
	Why string
	// Endpoints in the order in which they are known.
	Endpoints []EndpointStatus
	// Ejections and Retries since the gateway knows the service.
	Ejections, Retries uint64
}

// EndpointStatus is an endpoint as the gateway has experienced it.
type EndpointStatus struct {
	// Address is host:port.
	Address string
	// Instance is the id of the instance; empty for an endpoint of the file.
	Instance string
	// Picked says whether new requests go there now, Why why not, or what is the matter all the same.
	Picked bool
	Why    string
	// InFlight is how many requests it is serving for this gateway.
	InFlight int64
	// Failures in a row; LastFailure is the code of the last one, and LastFailureAt when that was: empty
	// and zero if there was none.
	Failures      int
	LastFailure   string
	LastFailureAt time.Time
	// EjectedAt and EjectedUntil bound the time for which it is out, EjectedFor says what for; zero and
	// empty while it is not.
	EjectedAt, EjectedUntil time.Time
	EjectedFor              string
	// Share of its full share of requests, from 0.1 to 1, that it gets while it warms up; 0 while it is
	// ejected.
	Share float64
}
