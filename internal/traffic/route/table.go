// Package route says where an exchange goes: a table of routes and upstreams at one revision of the
// registry.
//
// # Concurrency
//
// A Table is immutable. Whoever serves loads the current one from an atomic pointer and matches
// without a lock; a change builds a new table and swaps it.
package route

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// DefaultPrefix is where services are found: /api/{service}/{rest}.
const DefaultPrefix = "/api/"

// Table is all routes and upstreams at one revision.
type Table struct {
	Revision mesh.Revision
	BuiltAt  time.Time
	// Stale tables were built from what was left on disk, not from the registry.
	Stale bool

	prefix    []byte
	prefixed  Route                         // what the prefix's routes have in common
	tuned     map[*upstream.Upstream]*Route // those of services with a policy of their own
	upstreams map[string]*upstream.Upstream // by mesh.ServiceKey
	refused   map[*upstream.Upstream]bool   // those whose configured entry is quarantined without a good one before
	hidden    map[*upstream.Upstream]bool   // those that are not found under the prefix
	specs     map[string]*ServiceSpec       // the configured services, by mesh.ServiceKey
	refusals  map[string]*Refusal           // the refused entries of services, by mesh.ServiceKey
	hosts     map[string]*scope
	named     map[string]*Route // configured routes
	any       *scope            // routes without a host
	set       *Set
}

// Outcome is what a match found.
type Outcome uint8

const (
	// Found says that Match.Upstream has the service.
	Found Outcome = iota
	// Internal is one of the gateway's own paths.
	Internal
	// None says that no route takes the path.
	None
	// NoService says that the path names a service that is not registered.
	NoService
	// EncodedSlash says that no route that takes the path takes %2F.
	EncodedSlash
	// OtherMethod says that the path is taken, and not with this method: Table.Allowed has those.
	OtherMethod
	// Refused says that the configured entry of the service, which is Match.Upstream's, is quarantined: where
	// it would have sent the request is not known.
	Refused
)

// Match is where one exchange goes. Its slices alias the request and the table.
type Match struct {
	Upstream *upstream.Upstream
	// Route that matched, with its policy; never nil when found.
	Route *Route
	// Front and Path together are what the endpoint is asked for: what replaces a prefix, and what is
	// left of the path.
	Front string
	Path  []byte
	// Prefix is what was taken away; it is told as X-Forwarded-Prefix.
	Prefix []byte
}

// NormalPrefix gives a prefix its leading and trailing slash, as the family did; empty is the default.
// It refuses what is no path.
func NormalPrefix(s string) (string, error) {
	if s == "" {
		return DefaultPrefix, nil
	}
	p := "/" + strings.Trim(s, "/") + "/"
	if p == "//" {
		return "/", nil
	}
	canonical, encoded, problem := exchange.Canonical(nil, []byte(p))
	if problem != "" || encoded || string(canonical) != p || strings.ContainsAny(p, " ?#") {
		return "", fmt.Errorf("route prefix %q is not a plain path such as %s", s, DefaultPrefix)
	}
	return p, nil
}

// Input is what a table is built from.
type Input struct {
	// Prefix is a normal one.
	Prefix   string
	Snapshot *mesh.Snapshot
	// Set is what is configured; nil for nothing.
	Set *Set
	// Stale marks a table that was built from what was left on disk.
	Stale bool
	// Ejected is upstream.Source.Ejected.
	Ejected func()
}

// Build makes a table. What did not change is taken over from prev, which may be nil; open makes the
// connections of new endpoints.
func Build(prev *Table, in Input, open func(upstream.Target) upstream.Connections) *Table {
	set := in.Set
	if set == nil {
		set = &Set{}
	}
	b := builder{prev: prev, open: open, ejected: in.Ejected, set: set, t: &Table{
		Revision: in.Snapshot.Revision, BuiltAt: time.Now(), Stale: in.Stale, prefix: []byte(in.Prefix), set: set,
		upstreams: make(map[string]*upstream.Upstream, len(in.Snapshot.Services)),
		hosts:     map[string]*scope{}, any: newScope(), named: make(map[string]*Route, len(set.Routes)),
	}}
	b.services(in.Snapshot)
	b.routes()
	return b.t
}

// reserved names are never routed to: the family's registry lists itself as consul, and the dashboard's
// own paths lie under the prefix.
func reserved(key string) bool { return key == "consul" || key == "dashboard" }

// Set returns what the table was configured with; it is not modified.
func (t *Table) Set() *Set { return t.set }

// Abandoned calls close for the connections that prev had and t has not.
func (t *Table) Abandoned(prev *Table, close func(upstream.Connections)) {
	if prev == nil {
		return
	}
	for key, was := range prev.upstreams {
		is := t.upstreams[key]
		if is == was {
			continue
		}
		kept := map[upstream.Connections]bool{}
		if is != nil {
			for _, e := range is.All() {
				kept[e.Connections] = true
			}
		}
		for _, e := range was.All() {
			if !kept[e.Connections] {
				close(e.Connections)
			}
		}
	}
}

// Counts returns how many routes, services and endpoints the table has.
func (t *Table) Counts() (routes, services, endpoints int) {
	for _, u := range t.upstreams {
		endpoints += len(u.All())
	}
	return len(t.set.Routes), len(t.upstreams), endpoints
}

// Each calls f for every endpoint of the table.
func (t *Table) Each(f func(*upstream.Upstream, *upstream.Endpoint)) {
	for _, u := range t.upstreams {
		for _, e := range u.All() {
			f(u, e)
		}
	}
}

// Upstream returns the upstream of a service, without case; nil if there is none.
func (t *Table) Upstream(service string) *upstream.Upstream {
	return t.upstreams[mesh.ServiceKey(service)]
}

// Upstreams calls f for every upstream of the table, in no order.
func (t *Table) Upstreams(f func(key string, u *upstream.Upstream)) {
	for key, u := range t.upstreams {
		f(key, u)
	}
}

// Match finds where the request goes. It allocates nothing, but for an IPv6 address as a host that is not
// spelt as the one of a route.
//
// A configured route that names the host is first, before the gateway's own paths; then those, the
// other configured routes, and the prefix.
func (t *Table) Match(r *exchange.Request) (Match, Outcome) {
	var missed misses
	if len(t.hosts) > 0 {
		if s := t.scopeOf(r.Host); s != nil {
			if route := s.match(r, &missed); route != nil {
				return route.found(r)
			}
		}
	}
	if IsInternal(r) {
		return Match{}, Internal
	}
	if route := t.any.match(r, &missed); route != nil {
		return route.found(r)
	}
	m, outcome := t.matchPrefix(r)
	switch {
	case outcome == Found || outcome == Refused:
	case r.EncodedSlash || missed.slashed:
		return Match{}, EncodedSlash
	case missed.method:
		return Match{}, OtherMethod
	}
	return m, outcome
}

// found is a match of the route.
func (route *Route) found(r *exchange.Request) (Match, Outcome) {
	if route.refused {
		return Match{Upstream: route.upstream, Route: route}, Refused
	}
	return route.match(r), Found
}

// matchPrefix takes prefix{service}/{rest}. An encoded slash passes: nothing behind the name decides.
func (t *Table) matchPrefix(r *exchange.Request) (Match, Outcome) {
	rest, ok := bytes.CutPrefix(r.Path, t.prefix)
	if !ok || len(rest) == 0 {
		return Match{}, None
	}
	name, path := rest, slash
	if i := bytes.IndexByte(rest, '/'); i >= 0 {
		name, path = rest[:i], rest[i:]
	}
	u := t.lookup(name)
	if u == nil || len(t.hidden) > 0 && t.hidden[u] {
		return Match{}, NoService
	}
	if len(t.refused) > 0 && t.refused[u] {
		return Match{Upstream: u, Route: &t.prefixed}, Refused
	}
	if u.Instances == 0 {
		return Match{}, NoService
	}
	taken := len(t.prefix) + len(name)
	return Match{Upstream: u, Route: t.underPrefix(u), Path: path, Prefix: r.Path[:taken]}, Found
}

// underPrefix is the route to a service under the prefix.
func (t *Table) underPrefix(u *upstream.Upstream) *Route {
	if len(t.tuned) > 0 {
		if own := t.tuned[u]; own != nil {
			return own
		}
	}
	return &t.prefixed
}

var slash = []byte("/")

// lookup compares names without case.
func (t *Table) lookup(name []byte) *upstream.Upstream {
	if u := t.upstreams[string(name)]; u != nil {
		return u
	}
	var room [128]byte
	if len(name) > len(room) {
		return nil
	}
	return t.upstreams[string(lowered(room[:0], name))]
}

// lowered appends b in lower case to dst.
func lowered(dst, b []byte) []byte {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// IsInternal reports whether the request is for one of the paths that the gateway's port answers by
// itself, unless a configured route names its host: an exact list, of GET and HEAD only.
func IsInternal(r *exchange.Request) bool {
	return ownPath(r) && slices.Contains(internalMethods, string(r.Method))
}

// InternalPaths returns the paths that the gateway's port answers by itself.
func InternalPaths() []string { return slices.Clone(internalPaths) }

// InternalMethods returns the methods of these paths.
func InternalMethods() []string { return slices.Clone(internalMethods) }

var (
	internalMethods = []string{"GET", "HEAD"}
	internalPaths   = []string{"/health", "/health/live", "/health/ready", "/livez", "/readyz", "/metrics",
		"/api/dashboard/services", "/api/dashboard/health"}
)

// ownPath reports whether the path is one of the gateway's own.
func ownPath(r *exchange.Request) bool {
	switch string(r.Path) {
	case "/health", "/health/live", "/health/ready", "/livez", "/readyz", "/metrics",
		"/api/dashboard/services", "/api/dashboard/health":
		return true
	}
	return false
}
