package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Verifier knows the tokens of this node. Verify compares in constant time and is false for a token
// that it does not know.
type Verifier interface {
	Verify(token string) (identity.Role, bool)
}

// Guard returns the middleware that every request of a listener passes first. It refuses host names
// that are not the listener's own and browser pages of other origins, authenticates the bearer token,
// and puts the caller and the listener into the context. A token that is not known is refused, never
// treated as no token.
func Guard(l Listener, v Verifier) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx := NewListenerContext(r.Context(), l)
			r = r.WithContext(ctx)
			if err := checkOrigin(r); err != nil {
				WriteProblem(w, r, err)
				return
			}
			caller, err := authenticate(v, r)
			if err == nil && caller.Role == identity.Anonymous {
				// A page whose name was made to resolve here has no token: whoever has one may call this
				// listener by whatever name it found it under.
				err = checkHost(l, r)
			}
			if err != nil {
				WriteProblem(w, r, err)
				return
			}
			next.ServeHTTP(w, r.WithContext(identity.NewContext(ctx, caller)))
		})
	}
}

// authenticate says who calls. The address is the socket's: fields that a client can write are no
// evidence.
func authenticate(v Verifier, r *http.Request) (identity.Caller, error) {
	var c identity.Caller
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		c.Addr = ap.Addr().Unmap()
	}
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return c, nil
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	if len(values) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return c, &mesh.Error{Kind: mesh.ErrUnauthenticated, Code: mesh.CodeUnauthenticated,
			Detail: "the Authorization field is not one of the form Bearer TOKEN"}
	}
	role, known := v.Verify(token)
	if !known {
		return c, &mesh.Error{Kind: mesh.ErrUnauthenticated, Code: mesh.CodeUnauthenticated,
			Detail: "this node does not know the token; it may be another mesh's, or from before its secrets were made anew"}
	}
	c.Role = role
	return c, nil
}

// checkHost keeps a page from another site out whose name was made to resolve to this machine: such a
// page can only send its own name. A request without a host does not come from a browser.
func checkHost(l Listener, r *http.Request) error {
	host := hostname(r.Host)
	if host == "" || strings.EqualFold(host, "localhost") {
		return nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	if slices.ContainsFunc(l.Hosts, func(h string) bool { return strings.EqualFold(h, host) }) {
		return nil
	}
	return &mesh.Error{Kind: mesh.ErrForbidden, Code: mesh.CodeOrigin,
		Detail: "this listener is not called by the host name in the request; use its IP address, localhost, or a name that it advertises"}
}

// checkOrigin keeps browser pages of other origins out, whatever their method: what they may not do
// they must not be able to ask either.
func checkOrigin(r *http.Request) error {
	foreign := &mesh.Error{Kind: mesh.ErrForbidden, Code: mesh.CodeOrigin,
		Detail: "the request comes from a browser page of another origin, which may not call this listener"}
	for _, origin := range r.Header.Values("Origin") {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
			return foreign
		}
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return nil
	}
	// Following a link to a page of ours is no call: the page that has the link cannot read the answer.
	if r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" &&
		r.Header.Get("Sec-Fetch-Dest") == "document" {
		return nil
	}
	return foreign
}

// hostname cuts the port off a host, and the brackets off an IPv6 address.
func hostname(hostport string) string {
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		return h
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
}
