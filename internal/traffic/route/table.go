// Package route says where an exchange goes: a table of upstreams at one revision of the registry.
//
// # Concurrency
//
// A Table is immutable. Whoever serves loads the current one from an atomic pointer and matches
// without a lock; a change builds a new table and swaps it.
package route

import (
	"bytes"
	"fmt"
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

	prefix    []byte
	upstreams map[string]*upstream.Upstream // by mesh.ServiceKey
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
)

// Match is where one exchange goes. Its slices alias the request.
type Match struct {
	Upstream *upstream.Upstream
	// Path is what the endpoint is asked for, without prefix and name.
	Path []byte
	// Prefix is what was taken away.
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

// Build makes the table of a snapshot. What did not change is taken over from prev, which may be nil;
// open makes the connections of new endpoints. The prefix is a normal one.
func Build(prev *Table, prefix string, snap *mesh.Snapshot, open func(addr string) upstream.Connections) *Table {
	t := &Table{
		Revision: snap.Revision, BuiltAt: time.Now(), prefix: []byte(prefix),
		upstreams: make(map[string]*upstream.Upstream, len(snap.Services)),
	}
	for key, instances := range snap.Services {
		if reserved(key) {
			continue
		}
		var before *upstream.Upstream
		if prev != nil {
			before = prev.upstreams[key]
		}
		t.upstreams[key] = upstream.Build(before, instances, open)
	}
	return t
}

// reserved names are never routed to: the family's registry lists itself as consul, and the dashboard's
// own paths lie under the prefix.
func reserved(key string) bool { return key == "consul" || key == "dashboard" }

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

// Upstreams returns how many services and endpoints the table has.
func (t *Table) Upstreams() (services, endpoints int) {
	for _, u := range t.upstreams {
		endpoints += len(u.All())
	}
	return len(t.upstreams), endpoints
}

// Each calls f for every endpoint of the table.
func (t *Table) Each(f func(*upstream.Endpoint)) {
	for _, u := range t.upstreams {
		for _, e := range u.All() {
			f(e)
		}
	}
}

// Match finds where the request goes. It allocates nothing.
func (t *Table) Match(r *exchange.Request) (Match, Outcome) {
	if isInternal(r) {
		return Match{}, Internal
	}
	m, outcome := t.matchPrefix(r)
	if outcome != Found && r.EncodedSlash {
		return Match{}, EncodedSlash
	}
	return m, outcome
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
	if u == nil {
		return Match{}, NoService
	}
	taken := len(t.prefix) + len(name)
	return Match{Upstream: u, Path: path, Prefix: r.Path[:taken]}, Found
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
	key := room[:len(name)]
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		key[i] = c
	}
	return t.upstreams[string(key)]
}

// isInternal reports whether the request is for one of the paths that the gateway's port answers by
// itself: an exact list, of GET and HEAD only.
func isInternal(r *exchange.Request) bool {
	switch string(r.Path) {
	case "/health", "/health/live", "/health/ready", "/livez", "/readyz":
		return string(r.Method) == "GET" || string(r.Method) == "HEAD"
	}
	return false
}
