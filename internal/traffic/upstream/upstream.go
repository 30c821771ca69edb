// Package upstream holds the endpoints behind a service with their live state. It knows addresses and
// outcomes, never bytes.
//
// # Concurrency
//
// An Upstream is immutable but for the live state of its Endpoints, which is atomic. Endpoints outlive
// upstreams: a rebuilt table keeps those whose instance and address did not change.
package upstream

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/balance"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Upstream is a service's endpoints at one revision.
type Upstream struct {
	// Service is the name in its registered spelling.
	Service string
	// Instances is how many the service has, in whatever health.
	Instances int
	// Why says in words why there is no endpoint to pick; empty if there is one.
	Why string
	// Budget of the service's retries; it outlives tables.
	Budget *Budget
	// Counts what happened at its endpoints; it outlives tables too.
	Counts *Counts

	all      []*Endpoint // whether they may be picked or not
	live     []*Endpoint // those that the picker picks from
	picker   balance.Picker
	source   Source
	ejecting sync.Mutex // one ejection at a time, so that half stay
}

// Source is what an upstream is built from.
type Source struct {
	// Service is the name to show.
	Service string
	// Instances of the registry, sorted by ID.
	Instances []*mesh.Instance
	// Endpoints are configured addresses, host:port or https://host:port, instead of instances.
	Endpoints []string
	// Closed says that no endpoint may be picked: how they are to be spoken to is not known.
	Closed bool
	// Secure says that all endpoints are spoken to over TLS, whatever they say of themselves, and TLS how
	// those are that are.
	Secure bool
	TLS    TLS
	// Proxy is the version of the PROXY header that begins connections to the endpoints; 0 for none.
	Proxy int
	// Strategy that is configured; empty for what the metadata says.
	Strategy string
	// Ejected is told that an endpoint was put out, in the goroutine that saw it fail: it must not wait. It
	// may be nil, and is taken from the first of several sources that say the same.
	Ejected func()
}

func (s *Source) same(o *Source) bool {
	return s.Service == o.Service && s.Strategy == o.Strategy && s.Closed == o.Closed && s.Secure == o.Secure && s.TLS == o.TLS && s.Proxy == o.Proxy &&
		slices.Equal(s.Endpoints, o.Endpoints) &&
		// By identity: records are immutable, so an unchanged one is the same pointer.
		slices.Equal(s.Instances, o.Instances)
}

// Acquire picks an endpoint that was not tried and counts a request in flight there; nil when there is
// none. The caller releases it.
func (u *Upstream) Acquire(tried *balance.Tried) *Endpoint {
	i := u.picker.Pick(tried)
	if i < 0 {
		return nil
	}
	tried.Add(i)
	e := u.live[i]
	e.inFlight.Add(1)
	return e
}

// FromFile reports whether the endpoints are configured ones, and not the registry's instances.
func (u *Upstream) FromFile() bool { return len(u.source.Endpoints) > 0 }

// Registered returns how many instances of the service are registered.
func (u *Upstream) Registered() int { return len(u.source.Instances) }

// Live returns the endpoints that may be picked.
func (u *Upstream) Live() []*Endpoint { return u.live }

// All returns every endpoint.
func (u *Upstream) All() []*Endpoint { return u.all }

// Build makes an upstream. Endpoints of prev are kept where instance and address are the same; for new
// ones open is called. It returns prev itself if nothing changed.
func Build(prev *Upstream, src Source, open func(Target) Connections) *Upstream {
	if prev != nil && prev.source.same(&src) {
		return prev
	}
	u := &Upstream{Service: src.Service, Instances: max(len(src.Instances), len(src.Endpoints)), source: src}
	b := builder{u: u, open: open, old: map[string]*Endpoint{}}
	if prev == nil {
		u.Budget, u.Counts = newBudget(), new(Counts)
	} else {
		u.Budget, u.Counts = prev.Budget, prev.Counts
		b.warm = true
		for _, e := range prev.all {
			b.old[e.ID] = e
		}
		b.wasLive = prev.live
	}
	b.build()
	return u
}

// builder sorts the endpoints of one upstream by what may be done with them.
type builder struct {
	u       *Upstream
	open    func(Target) Connections
	old     map[string]*Endpoint
	wasLive []*Endpoint
	warm    bool // new endpoints join others that are warm
}

func (b *builder) build() {
	u := b.u
	var passing, lastResort []*Endpoint
	for _, addr := range u.source.Endpoints {
		host, secure := strings.CutPrefix(addr, secureScheme)
		passing = append(passing, b.endpoint(addr, b.target(host, secure), 1))
	}
	if len(u.source.Endpoints) == 0 {
		for _, in := range u.source.Instances {
			e := b.endpoint(in.ID, b.target(in.HostPort(), speaksTLS(in)), weightOf(in))
			switch {
			case in.Draining:
			case in.Health == mesh.Passing:
				passing = append(passing, e)
			case in.Health == mesh.Degraded, in.Health == mesh.Suspect:
				lastResort = append(lastResort, e)
			}
		}
	}
	if u.live = passing; len(passing) == 0 {
		u.live = lastResort
	}
	switch {
	case u.source.Closed:
		u.live = nil
		u.Why = "the service is quarantined, and its configuration asks for TLS"
	case len(u.live) == 0:
		u.Why = why(u.source.Instances)
	}
	b.warmUp()
	u.picker = balance.New(strategyOf(&u.source), u.live)
}

// endpoint keeps the one that was there, with its live state, or makes one.
func (b *builder) endpoint(id string, to Target, weight int) *Endpoint {
	e := b.old[id]
	switch {
	case e == nil || e.target != to:
		e = &Endpoint{ID: id, Addr: to.Addr, Connections: b.open(to), target: to, weight: weight, live: &live{}}
	case e.weight != weight:
		e = &Endpoint{ID: id, Addr: to.Addr, Connections: e.Connections, target: to, weight: weight, live: e.live}
	}
	b.u.all = append(b.u.all, e)
	return e
}

// warmUp lets endpoints that were not picked from before begin with a small share, if there are others
// that carry the rest.
func (b *builder) warmUp() {
	if !b.warm || len(b.wasLive) == 0 {
		return
	}
	known := map[*live]bool{}
	for _, e := range b.wasLive {
		known[e.live] = true
	}
	if !slices.ContainsFunc(b.u.live, func(e *Endpoint) bool { return known[e.live] }) {
		return
	}
	until := time.Now().Add(warmUp).UnixNano()
	for _, e := range b.u.live {
		if !known[e.live] {
			e.warm.Store(until)
		}
	}
}

// strategyOf is what is configured, or the word of the first instance that has one, as the family's
// router took it.
func strategyOf(src *Source) balance.Strategy {
	if src.Strategy != "" {
		s, _ := balance.ParseStrategy(src.Strategy)
		return s
	}
	for _, in := range src.Instances {
		if word := in.Metadata["lb_strategy"]; word != "" {
			s, _ := balance.ParseStrategy(word)
			return s
		}
	}
	return balance.LeastRequest
}

func weightOf(in *mesh.Instance) int {
	if w, err := strconv.Atoi(in.Metadata["weight"]); err == nil && w > 0 {
		return min(w, maxWeight)
	}
	return 1
}

// maxWeight bounds what an instance may claim for itself: pickers multiply weights, and add up their
// inverses.
const maxWeight = 1 << 16

func why(instances []*mesh.Instance) string {
	if len(instances) == 0 {
		return "none is registered"
	}
	draining, failing := 0, 0
	for _, in := range instances {
		if in.Draining {
			draining++
		} else {
			failing++
		}
	}
	var parts []string
	for _, p := range [...]struct {
		n    int
		what string
	}{{failing, "failing"}, {draining, "draining"}} {
		if p.n > 0 {
			parts = append(parts, strconv.Itoa(p.n)+" "+p.what)
		}
	}
	return "of its instances " + strings.Join(parts, ", ")
}
