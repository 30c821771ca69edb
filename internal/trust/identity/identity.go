// Package identity says who calls: the caller that an edge has authenticated, carried by the context.
//
// # Concurrency
//
// A Caller is a value; contexts carry it by copy.
package identity

import (
	"context"
	"net/netip"
)

// Role is what a caller may do.
type Role uint8

const (
	// Anonymous callers showed no token.
	Anonymous Role = iota
	// Service callers may register, keep what was registered with the service token, and read.
	Service
	// Admin callers may do everything.
	Admin
)

// String returns "anonymous", "service" or "admin", as stored with what the caller registers.
func (r Role) String() string {
	switch r {
	case Service:
		return "service"
	case Admin:
		return "admin"
	case Anonymous:
	}
	return "anonymous"
}

// Caller is who makes a call and where it came from.
type Caller struct {
	Role Role
	// Addr is the caller's address as seen by the node that accepted the call; invalid in process.
	Addr netip.Addr
	// Trusted calls come from the process itself (a role, not a listener) and pass every check.
	Trusted bool
}

// MayChange reports whether the caller may renew, report on, drain or deregister what the given
// registrar registered: an admin everything, anyone else what its own kind registered.
func (c Caller) MayChange(registrar string) bool {
	return c.Trusted || c.Role == Admin || c.Role.String() == registrar
}

type key struct{}

// NewContext returns a context that carries the caller.
func NewContext(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, key{}, c)
}

// FromContext returns the caller. A context without one is an anonymous caller without an address:
// closed by default.
func FromContext(ctx context.Context) Caller {
	c, _ := ctx.Value(key{}).(Caller)
	return c
}
