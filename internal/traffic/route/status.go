package route

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Status tells of the routes in force in the order in which they are tried, with the gateway's own paths
// and the prefix among them, and then of those that are quarantined.
func (t *Table) Status() []mesh.RouteStatus {
	specs := t.Ordered()
	out := make([]mesh.RouteStatus, 0, len(specs)+len(t.set.Quarantined)+2)
	hosts := slices.IndexFunc(specs, func(s Spec) bool { return len(s.Hosts) == 0 })
	if hosts < 0 {
		hosts = len(specs)
	}
	var quarantined []mesh.RouteStatus
	add := func(specs []Spec) {
		for i := range specs {
			if st := t.status(&specs[i]); st.State == mesh.RouteInForce {
				out = append(out, st)
			} else {
				quarantined = append(quarantined, st)
			}
		}
	}
	add(specs[:hosts])
	out = append(out, t.ownStatus()...)
	add(specs[hosts:])
	out = append(out, t.prefixStatus())
	for _, r := range t.set.Quarantined {
		if r.Kind == KindRoute {
			out = append(out, mesh.RouteStatus{Name: r.Name, Kind: mesh.RouteConfigured, Origin: r.Origin.String(),
				State: mesh.RouteQuarantined, Reason: r.Reason})
		}
	}
	return append(out, quarantined...)
}

func (t *Table) status(s *Spec) mesh.RouteStatus {
	key := mesh.ServiceKey(s.Service)
	p := t.policyOf(s)
	st := mesh.RouteStatus{
		Name: s.Name, Kind: mesh.RouteConfigured, Hosts: s.Hosts, Path: s.pattern(), Exact: s.Exact, Prefix: s.Prefix,
		Methods: s.Methods, Service: s.Service, StripPrefix: s.StripPrefix, ReplacePrefix: s.ReplacePrefix,
		UpstreamHost: cmp.Or(s.Host, HostKeep), EncodedSlash: s.KeepEncodedSlash, Origin: s.Origin.String(),
		State: mesh.RouteInForce, Warning: s.Shadows(string(t.prefix)),
	}
	st.Timeouts, st.Retry = p.status()
	refusal := t.refusals[key]
	switch {
	case refusal == nil:
	case t.refused[t.upstreams[key]]:
		st.State = mesh.RouteQuarantined
		st.Reason = "the entry of its service is quarantined: " + refusal.text()
	default:
		st.Warning = strings.TrimPrefix(st.Warning+"; the last good entry of its service is in force, since the one at "+
			refusal.Origin.String()+" is quarantined", "; ")
	}
	return st
}

// text is the reason with its place, once.
func (r *Refusal) text() string {
	if r.Origin.File != "" && strings.HasPrefix(r.Reason, r.Origin.File+":") {
		return r.Reason
	}
	return r.Origin.String() + ": " + r.Reason
}

// policyOf is the policy of a route as it is in force.
func (t *Table) policyOf(s *Spec) Policy {
	p := t.set.Defaults.over(DefaultPolicy())
	if spec := t.specs[mesh.ServiceKey(s.Service)]; spec != nil {
		p = spec.Policy.over(p)
	}
	return s.Policy.over(p)
}

func (p Policy) status() (mesh.RouteTimeouts, mesh.RouteRetry) {
	return mesh.RouteTimeouts{Connect: p.Connect, PerTry: p.PerTry, Idle: p.Idle, Total: p.Total},
		mesh.RouteRetry{Attempts: p.Attempts, Budget: max(p.Budget, 0), AllMethods: p.RetryAll}
}

// pattern is the path as text.
func (s *Spec) pattern() string {
	switch {
	case s.Exact != "":
		return s.Exact
	case s.Prefix == "" || s.Prefix[len(s.Prefix)-1] == '/':
		return cmp.Or(s.Prefix, "/") + "…"
	}
	return s.Prefix + "/…"
}

// Shadows says that the route takes what services would be found by under a normal prefix; empty if it
// does not.
func (s *Spec) Shadows(prefix string) string {
	if len(s.Hosts) > 0 || s.Exact != "" || !strings.HasPrefix(prefix, trimSlash(s.Prefix)+"/") {
		return ""
	}
	methods := ""
	if len(s.Methods) > 0 {
		methods = " for " + strings.Join(s.Methods, ", ")
	}
	return "shadows the prefix " + prefix + methods + ": no service is found by its name there; give it a host, or a path of its own"
}

// Warning is what is odd about an object that is in force.
type Warning struct {
	Name   string
	Origin Origin
	// Text says what is odd, and what to do.
	Text string
}

// Warnings tells of routes that take the place of services under a normal prefix.
func (s *Set) Warnings(prefix string) []Warning {
	var out []Warning
	for i := range s.Routes {
		if what := s.Routes[i].Shadows(prefix); what != "" {
			out = append(out, Warning{s.Routes[i].Name, s.Routes[i].Origin, what})
		}
	}
	return out
}

func (t *Table) ownStatus() []mesh.RouteStatus {
	var out []mesh.RouteStatus
	for _, path := range internalPaths {
		out = append(out, mesh.RouteStatus{Name: "-", Kind: mesh.RouteInternal, Path: path, Exact: path,
			Methods: InternalMethods(), State: mesh.RouteInForce})
	}
	return out
}

func (t *Table) prefixStatus() mesh.RouteStatus {
	st := mesh.RouteStatus{Name: "-", Kind: mesh.RoutePrefix, Path: string(t.prefix) + "{service}/…", Prefix: string(t.prefix),
		UpstreamHost: HostUpstream, EncodedSlash: true, State: mesh.RouteInForce}
	st.Timeouts, st.Retry = t.prefixed.Policy.status()
	if t.set.NoPrefix {
		st.Warning = "takes only services that say prefix: true"
	}
	return st
}

// UpstreamStatus tells of the upstreams of the table: of one service, without case, or of all where it is
// empty, by name.
func (t *Table) UpstreamStatus(service string, now time.Time) []mesh.UpstreamStatus {
	var out []mesh.UpstreamStatus
	add := func(key string, u *upstream.Upstream) {
		st := u.Status(now)
		if spec := t.specs[key]; spec != nil {
			st.Origin = spec.Origin.String()
		}
		if r := t.refusals[key]; r != nil {
			st.Quarantined = r.text()
			if t.refused[u] {
				st.Why = "its entry in the file is quarantined, and there is no good one before it"
				for i := range st.Endpoints {
					st.Endpoints[i].Picked, st.Endpoints[i].Why = false, st.Why
				}
			}
		}
		out = append(out, st)
	}
	if service != "" {
		key := mesh.ServiceKey(service)
		if u := t.upstreams[key]; u != nil {
			add(key, u)
		}
		return out
	}
	t.Upstreams(add)
	slices.SortFunc(out, func(a, b mesh.UpstreamStatus) int {
		return cmp.Compare(mesh.ServiceKey(a.Service), mesh.ServiceKey(b.Service))
	})
	return out
}
