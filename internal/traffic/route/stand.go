package route

import (
	"slices"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Upgrades says whether a request may become another protocol.
type Upgrades uint8

const (
	// UpgradesUnsaid leaves it to the next wider policy; the widest takes WebSockets.
	UpgradesUnsaid Upgrades = iota
	// UpgradesWebSocket takes WebSockets, and nothing else.
	UpgradesWebSocket
	// UpgradesNone takes none.
	UpgradesNone
)

// Standing compares what a tunnel was matched by with a table that came later. It is for one table, and not
// safe for concurrent use.
type Standing struct {
	table *Table
	// pickable has the connections of the endpoints that may be picked, of the upstreams that were asked for.
	pickable map[*upstream.Upstream]map[upstream.Connections]bool
}

// Standing begins a comparison with t.
func (t *Table) Standing() *Standing {
	return &Standing{table: t, pickable: map[*upstream.Upstream]map[upstream.Connections]bool{}}
}

// Of returns the policy that is in force now for what a route took to an endpoint of a service, and
// whether both still stand: the route is there and says what it said, it takes WebSockets, and e may be picked. Of a
// route that has gone the policy is its last one.
func (s *Standing) Of(was *Route, service string, e *upstream.Endpoint) (p *Policy, stands bool) {
	key := mesh.ServiceKey(service)
	now := (*Route)(nil)
	u := s.table.upstreams[key]
	switch {
	case was.Name != "":
		now = s.table.named[was.Name]
		if now == nil || !now.says.same(&was.says) {
			return &was.Policy, false
		}
	case u == nil:
		return &was.Policy, false
	default:
		now = s.table.underPrefix(u)
	}
	return &now.Policy, u != nil && now.Policy.Upgrades != UpgradesNone && s.picks(u, e)
}

func (s *Standing) picks(u *upstream.Upstream, e *upstream.Endpoint) bool {
	may := s.pickable[u]
	if may == nil {
		may = map[upstream.Connections]bool{}
		for _, live := range u.Live() {
			if live.Ejected(time.Now()).IsZero() {
				may[live.Connections] = true
			}
		}
		s.pickable[u] = may
	}
	return may[e.Connections]
}

// same reports whether two routes take the same and lead to the same. Where they were written, and their
// policies, do not matter to what is under way.
func (s *Spec) same(o *Spec) bool {
	return s.Exact == o.Exact && s.Prefix == o.Prefix && s.StripPrefix == o.StripPrefix && s.ReplacePrefix == o.ReplacePrefix &&
		mesh.ServiceKey(s.Service) == mesh.ServiceKey(o.Service) && s.Host == o.Host && s.KeepEncodedSlash == o.KeepEncodedSlash &&
		sameSet(s.Hosts, o.Hosts) && sameSet(s.Methods, o.Methods)
}

func sameSet(a, b []string) bool {
	return len(a) == len(b) && (slices.Equal(a, b) || slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))))
}

// Resting calls f for every endpoint that may not be picked.
func (t *Table) Resting(f func(*upstream.Endpoint)) {
	now := time.Now()
	for _, u := range t.upstreams {
		live := u.Live()
		if len(live) == len(u.All()) {
			for _, e := range live {
				if !e.Ejected(now).IsZero() {
					f(e)
				}
			}
			continue
		}
		may := make(map[*upstream.Endpoint]bool, len(live))
		for _, e := range live {
			may[e] = e.Ejected(now).IsZero()
		}
		for _, e := range u.All() {
			if !may[e] {
				f(e)
			}
		}
	}
}
