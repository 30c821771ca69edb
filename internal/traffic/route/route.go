package route

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Route is a configured route as it is in force, with everything decided that can be before a request.
type Route struct {
	// Name of the route; empty for the routes under the prefix.
	Name string
	// Policy with every field filled in.
	Policy Policy
	// Host is what the endpoint is told: HostKeep, HostUpstream or a name.
	Host string
	// Unlogged exchanges of the route have no line in the access log.
	Unlogged bool

	upstream *upstream.Upstream
	refused  bool // the service's entry is quarantined, and there is no good one
	says     Spec
	methods  []string
	strip    int    // bytes that are taken off the front of the path
	front    string // what comes there instead
	slashes  bool   // %2F passes
}

// DefaultPolicy is what holds where nothing is configured.
func DefaultPolicy() Policy {
	b := exchange.DefaultBounds()
	return Policy{Connect: 2 * time.Second, PerTry: 10 * time.Second, Attempts: 2, Budget: 0.2,
		Idle: b.Idle, Body: b.Body, Ceiling: b.Ceiling, Rate: b.Rate}
}

// over returns p with what it leaves open taken from the wider policy.
func (p Policy) over(wider Policy) Policy {
	return Policy{
		Connect: cmp.Or(p.Connect, wider.Connect), PerTry: cmp.Or(p.PerTry, wider.PerTry),
		Idle: cmp.Or(p.Idle, wider.Idle), Total: cmp.Or(p.Total, wider.Total),
		Attempts: cmp.Or(p.Attempts, wider.Attempts), Budget: cmp.Or(p.Budget, wider.Budget),
		RetryAll: p.RetryAll || wider.RetryAll,
		Upgrades: cmp.Or(p.Upgrades, wider.Upgrades), Tunnel: cmp.Or(p.Tunnel, wider.Tunnel), Drain: cmp.Or(p.Drain, wider.Drain),
		Body: cmp.Or(p.Body, wider.Body), Ceiling: cmp.Or(p.Ceiling, wider.Ceiling), Rate: cmp.Or(p.Rate, wider.Rate),
	}
}

// Bounds are what the policy says of the client.
func (p *Policy) Bounds() exchange.Bounds {
	return exchange.Bounds{Body: p.Body, Idle: p.Idle, Ceiling: p.Ceiling, Rate: p.Rate}
}

// scope is the routes of one host, or of none.
type scope struct {
	exact    map[string][]*Route
	prefixes map[string][]*Route // without a trailing slash; "" takes every path
	longest  int
}

func newScope() *scope { return &scope{exact: map[string][]*Route{}, prefixes: map[string][]*Route{}} }

// scopeOf finds the routes of a host: without its port, without a final dot, without case.
func (t *Table) scopeOf(host []byte) *scope {
	if len(host) == 0 {
		return nil
	}
	if host[0] != '[' {
		if i := bytes.IndexByte(host, ':'); i >= 0 {
			host = host[:i]
		}
	} else if i := bytes.IndexByte(host, ']'); i >= 0 {
		host = host[:i+1]
	}
	host = bytes.TrimSuffix(host, dot)
	var room [256]byte
	if len(host) > len(room) {
		return nil
	}
	name := lowered(room[:0], host)
	if s := t.hosts[string(name)]; s != nil || len(name) == 0 || name[0] != '[' {
		return s
	}
	return t.hosts[oneSpelling(name)]
}

// oneSpelling returns the spelling of an IPv6 address in brackets that routes are configured by; empty for
// what is none.
func oneSpelling(host []byte) string {
	a, err := netip.ParseAddr(strings.Trim(string(host), "[]"))
	if err != nil {
		return ""
	}
	return "[" + a.String() + "]"
}

var dot = []byte(".")

// match takes an exact path before a prefix, and a longer prefix before a shorter one.
func (s *scope) match(r *exchange.Request, m *misses) *Route {
	if route := first(s.exact[string(r.Path)], r, m); route != nil {
		return route
	}
	if len(s.prefixes) == 0 {
		return nil
	}
	// Every place where a segment ends is where a prefix may.
	for end := min(len(r.Path), s.longest); ; {
		if end == len(r.Path) || r.Path[end] == '/' {
			if route := first(s.prefixes[string(r.Path[:end])], r, m); route != nil {
				return route
			}
		}
		if end == 0 {
			return nil
		}
		end = max(bytes.LastIndexByte(r.Path[:end], '/'), 0)
	}
}

// misses are why routes that take the path do not take the request.
type misses struct {
	slashed bool // they take no %2F
	method  bool // they take other methods
	// gather makes first note the methods of each instead of taking any.
	gather  bool
	methods []string
}

// first returns the first route that takes the request.
func first(routes []*Route, r *exchange.Request, m *misses) *Route {
	for _, route := range routes {
		if m.gather {
			m.methods = append(m.methods, route.methods...)
			continue
		}
		if len(route.methods) > 0 && !slices.Contains(route.methods, string(r.Method)) {
			m.method = true
			continue
		}
		if r.EncodedSlash && !route.slashes {
			m.slashed = true
			continue
		}
		return route
	}
	return nil
}

// Allowed returns the methods that the path of a request of another method is taken with, in order.
func (t *Table) Allowed(r *exchange.Request) []string {
	m := misses{gather: true}
	if len(t.hosts) > 0 {
		if s := t.scopeOf(r.Host); s != nil {
			s.match(r, &m)
		}
	}
	t.any.match(r, &m)
	if ownPath(r) {
		m.methods = append(m.methods, internalMethods...)
	}
	slices.Sort(m.methods)
	return slices.Compact(m.methods)
}

func (route *Route) match(r *exchange.Request) Match {
	m := Match{Upstream: route.upstream, Route: route, Front: route.front, Path: r.Path}
	if route.strip > 0 {
		m.Prefix, m.Path = r.Path[:route.strip], r.Path[route.strip:]
	}
	if len(m.Path) == 0 && m.Front == "" || len(m.Path) > 0 && m.Path[0] != '/' && m.Front == "" {
		m.Front = "/"
	}
	return m
}

// builder puts a table together.
type builder struct {
	t       *Table
	prev    *Table
	set     *Set
	open    func(upstream.Target) upstream.Connections
	ejected func()
}

// services makes an upstream of every registered and every configured service, and of every one that a
// route names.
func (b *builder) services(snap *mesh.Snapshot) {
	b.t.specs, b.t.refusals = map[string]*ServiceSpec{}, b.set.refusals()
	b.t.refused, b.t.hidden = map[*upstream.Upstream]bool{}, map[*upstream.Upstream]bool{}
	for i := range b.set.Services {
		b.t.specs[mesh.ServiceKey(b.set.Services[i].Name)] = &b.set.Services[i]
	}
	for key, instances := range snap.Services {
		if !reserved(key) {
			b.service(key, instances[0].Service, instances)
		}
	}
	for key, spec := range b.t.specs {
		if b.t.upstreams[key] == nil {
			b.service(key, spec.Name, nil)
		}
	}
	for i := range b.set.Routes {
		if key := mesh.ServiceKey(b.set.Routes[i].Service); b.t.upstreams[key] == nil {
			b.service(key, b.set.Routes[i].Service, nil)
		}
	}
}

func (b *builder) service(key, name string, instances []*mesh.Instance) {
	src := upstream.Source{Service: name, Instances: instances, Ejected: b.ejected}
	if spec := b.t.specs[key]; spec != nil {
		src.Endpoints, src.Strategy = spec.Endpoints, spec.Strategy
		src.Secure, src.TLS, src.Proxy = spec.Secure, spec.TLS, spec.Proxy
	}
	src.Closed = slices.ContainsFunc(b.set.Closed, func(name string) bool { return mesh.ServiceKey(name) == key })
	var before *upstream.Upstream
	if b.prev != nil {
		before = b.prev.upstreams[key]
	}
	u := upstream.Build(before, src, b.open)
	b.t.upstreams[key] = u
	spec := b.t.specs[key]
	if spec == nil && b.t.refusals[key] != nil {
		b.t.refused[u] = true
	}
	if hidden := b.set.NoPrefix; spec == nil && hidden || spec != nil && spec.hidden(hidden) {
		b.t.hidden[u] = true
	}
}

// hidden reports whether the service is not found under the prefix; otherwise is what holds where it says
// nothing.
func (s *ServiceSpec) hidden(otherwise bool) bool {
	if s.Prefix != nil {
		return !*s.Prefix
	}
	return otherwise
}

func (b *builder) routes() {
	defaults := b.set.Defaults.over(DefaultPolicy())
	b.t.prefixed = Route{Policy: defaults, Host: HostUpstream, slashes: true}
	b.t.tuned = map[*upstream.Upstream]*Route{}
	for key, spec := range b.t.specs {
		if spec.Policy != (Policy{}) {
			b.t.tuned[b.t.upstreams[key]] = &Route{Policy: spec.Policy.over(defaults), Host: HostUpstream, slashes: true}
		}
	}
	specs := b.t.Ordered()
	for i := range specs {
		b.route(&specs[i], defaults)
	}
}

func (b *builder) route(spec *Spec, defaults Policy) {
	key := mesh.ServiceKey(spec.Service)
	policy := defaults
	if s := b.t.specs[key]; s != nil {
		policy = s.Policy.over(policy)
	}
	route := &Route{
		Name: spec.Name, Policy: spec.Policy.over(policy), Host: cmp.Or(spec.Host, HostKeep), Unlogged: spec.Unlogged,
		upstream: b.t.upstreams[key], refused: b.t.refused[b.t.upstreams[key]], says: *spec, methods: spec.Methods, slashes: spec.KeepEncodedSlash,
	}
	b.t.named[spec.Name] = route
	switch {
	case spec.ReplacePrefix != "":
		route.strip, route.front = len(trimSlash(spec.Prefix)), trimSlash(spec.ReplacePrefix)
	case spec.StripPrefix != "":
		route.strip = len(trimSlash(spec.StripPrefix))
	}
	if len(spec.Hosts) == 0 {
		b.t.any.add(spec, route)
	}
	for _, host := range spec.Hosts {
		s := b.t.hosts[host]
		if s == nil {
			s = newScope()
			b.t.hosts[host] = s
		}
		s.add(spec, route)
	}
}

func (s *scope) add(spec *Spec, route *Route) {
	if spec.Exact != "" {
		s.exact[spec.Exact] = append(s.exact[spec.Exact], route)
		return
	}
	prefix := trimSlash(spec.Prefix)
	s.prefixes[prefix] = append(s.prefixes[prefix], route)
	s.longest = max(s.longest, len(prefix))
}

// trimSlash takes a trailing slash off: a prefix means the same with and without.
func trimSlash(p string) string {
	if len(p) > 0 && p[len(p)-1] == '/' {
		return p[:len(p)-1]
	}
	return p
}

// compare orders routes by precedence, whatever the order of the file: with a host before without, an
// exact path before a prefix, a longer prefix before a shorter one, with methods before without, then
// by name.
func compare(a, b Spec) int {
	rank := func(yes bool) int {
		if yes {
			return 0
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(rank(len(a.Hosts) > 0), rank(len(b.Hosts) > 0)),
		cmp.Compare(rank(a.Exact != ""), rank(b.Exact != "")),
		cmp.Compare(len(b.Prefix), len(a.Prefix)),
		cmp.Compare(rank(len(a.Methods) > 0), rank(len(b.Methods) > 0)),
		cmp.Compare(a.Name, b.Name),
	)
}

// Ordered returns the routes in the order in which they are tried.
func (t *Table) Ordered() []Spec {
	specs := slices.Clone(t.set.Routes)
	slices.SortStableFunc(specs, compare)
	return specs
}
