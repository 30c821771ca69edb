package httpapi

import (
	"context"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// The names of the listeners that have rules of their own.
const (
	// ListenerControl carries everything, and problems on it point to their page.
	ListenerControl = "control"
	// ListenerDiscovery carries the family's surface.
	ListenerDiscovery = "discovery"
	// ListenerGateway carries the few paths that the gateway's port hands inward; health there is the
	// gateway's alone and says only its status.
	ListenerGateway = "gateway"
)

// Listener describes the listener that a request arrived at.
type Listener struct {
	// Name is one of the Listener constants.
	Name string
	// Loopback is true if only this machine can reach the listener.
	Loopback bool
	// Hosts are the host names, beyond IP addresses and localhost, under which the listener may be
	// called. They are compared without case and without the port.
	Hosts []string
	// ErrorPages says that the listener has a page for each code, to which problems point.
	ErrorPages bool
	// AnonymousFamily opens the family's surface to callers without a token, wherever they are.
	AnonymousFamily bool
}

type listenerKey struct{}

// NewListenerContext returns a context that carries the listener. Handler does that for every request.
func NewListenerContext(ctx context.Context, l Listener) context.Context {
	return context.WithValue(ctx, listenerKey{}, l)
}

// ListenerFromContext returns the listener that the request arrived at. Without one it is a listener
// that is not loopback and has no name: closed by default.
func ListenerFromContext(ctx context.Context) Listener {
	l, _ := ctx.Value(listenerKey{}).(Listener)
	return l
}

// MayRead reports whether the caller may read: with a token, or while the listener is loopback. The
// error is mesh.ErrUnauthenticated.
func MayRead(ctx context.Context) error {
	if known(ctx) || ListenerFromContext(ctx).Loopback {
		return nil
	}
	return needToken("this listener can be reached from other machines, so reading needs a token")
}

// MayWrite reports whether the caller may change anything: with a token only, from loopback too. The
// error is mesh.ErrUnauthenticated.
func MayWrite(ctx context.Context) error {
	if known(ctx) {
		return nil
	}
	return needToken("a change needs a token, from this machine too")
}

// MayAdmin reports whether the caller may do what only an operator may: with the admin token, from
// loopback too. The error is mesh.ErrUnauthenticated, or mesh.ErrForbidden for the service token.
func MayAdmin(ctx context.Context) error {
	switch c := identity.FromContext(ctx); {
	case c.Trusted || c.Role == identity.Admin:
		return nil
	case c.Role == identity.Anonymous:
		return &mesh.Error{Kind: mesh.ErrUnauthenticated, Code: mesh.CodeUnauthenticated,
			Detail: "this needs the admin token, from this machine too; send it as Authorization: Bearer"}
	}
	return &mesh.Error{Kind: mesh.ErrForbidden, Code: mesh.CodeForbidden,
		Detail: "this needs the admin token; the one that was sent is the service token"}
}

// MayUseFamily reports whether the caller may use the family's surface: with a token, while the
// listener is loopback, or where anonymous callers are admitted. The error is mesh.ErrUnauthenticated.
func MayUseFamily(ctx context.Context) error {
	l := ListenerFromContext(ctx)
	if known(ctx) || l.Loopback || l.AnonymousFamily {
		return nil
	}
	return needToken("this listener can be reached from other machines, so discovery needs a token")
}

// known reports whether the caller showed a token or is a part of this process.
func known(ctx context.Context) bool {
	c := identity.FromContext(ctx)
	return c.Trusted || c.Role != identity.Anonymous
}

func needToken(why string) error {
	return &mesh.Error{Kind: mesh.ErrUnauthenticated, Code: mesh.CodeUnauthenticated,
		Detail: why + "; send the service or the admin token as Authorization: Bearer"}
}
