package mesh

import "context"

// Routing is what a node with a gateway offers of its routes.
type Routing interface {
	// Routes returns the routes in force, in the order in which they are tried, then those that are
	// quarantined, in the order in which they were written.
	Routes(ctx context.Context) ([]RouteStatus, error)
}

// The states of a route.
const (
	RouteInForce     = "in force"
	RouteQuarantined = "quarantined"
)

// RouteStatus is one route as the gateway has it.
type RouteStatus struct {
	Name string
	// Hosts that the route takes; none takes every host.
	Hosts []string
	// Path is the pattern as text: "/orders" for one path, "/orders/…" for it and all below it, "/…" for
	// every path.
	Path string
	// Methods that the route takes; none takes all.
	Methods []string
	// Service that answers.
	Service string
	// Origin is where the route was written, as file:line:column.
	Origin string
	// State is RouteInForce or RouteQuarantined.
	State string
	// Reason is why the route is quarantined; empty for one in force.
	Reason string
}
