// Package upstream holds the endpoints behind a service with their live state. It knows addresses and
// outcomes, never bytes.
//
// # Concurrency
//
// An Upstream is immutable but for the live state of its Endpoints, which is atomic. Endpoints outlive
// upstreams: a rebuilt table keeps those whose instance and address did not change.
package upstream

import (
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/balance"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Connections are an endpoint's: whoever forwards knows what they are.
type Connections interface {
	// Sweep closes those that have lain idle for too long.
	Sweep(now time.Time)
	// Close closes the idle ones, and the others when they are given back.
	Close()
}

// Endpoint is an address that may be dialled, with its live state.
type Endpoint struct {
	// ID is the instance's.
	ID string
	// Addr is host:port.
	Addr string
	// Connections to the address.
	Connections Connections

	weight   int
	inFlight atomic.Int64
}

// Weight implements balance.Member.
func (e *Endpoint) Weight() int { return e.weight }

// InFlight implements balance.Member.
func (e *Endpoint) InFlight() int64 { return e.inFlight.Load() }

// Release ends what Acquire began.
func (e *Endpoint) Release() { e.inFlight.Add(-1) }

// Upstream is a service's endpoints at one revision.
type Upstream struct {
	// Service is the name in its registered spelling.
	Service string
	// Instances is how many the service has, in whatever health.
	Instances int
	// Why says in words why there is no endpoint to pick; empty if there is one.
	Why string

	all    []*Endpoint // whether they may be picked or not
	live   []*Endpoint // those that the picker picks from
	picker balance.Picker
	source []*mesh.Instance
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

// Live returns the endpoints that may be picked.
func (u *Upstream) Live() []*Endpoint { return u.live }

// All returns every endpoint.
func (u *Upstream) All() []*Endpoint { return u.all }

// Build makes the upstream of a service from its instances, which are not empty. Endpoints of prev are
// kept where instance and address are the same; for new ones open is called. It returns prev itself if
// nothing changed.
func Build(prev *Upstream, instances []*mesh.Instance, open func(addr string) Connections) *Upstream {
	if prev != nil && sameInstances(prev.source, instances) {
		return prev
	}
	u := &Upstream{Service: instances[0].Service, Instances: len(instances), source: instances}
	old := map[string]*Endpoint{}
	if prev != nil {
		for _, e := range prev.all {
			old[e.ID] = e
		}
	}
	var passing, lastResort []*Endpoint
	for _, in := range instances {
		e := old[in.ID]
		if weight := weightOf(in); e == nil || e.Addr != in.HostPort() {
			e = &Endpoint{ID: in.ID, Addr: in.HostPort(), Connections: open(in.HostPort()), weight: weight}
		} else if e.weight != weight {
			e = e.reweighed(weight)
		}
		u.all = append(u.all, e)
		switch {
		case in.Draining || strings.EqualFold(in.Metadata["scheme"], "https"):
		case in.Health == mesh.Passing:
			passing = append(passing, e)
		case in.Health == mesh.Degraded, in.Health == mesh.Suspect:
			lastResort = append(lastResort, e)
		}
	}
	if u.live = passing; len(passing) == 0 {
		u.live = lastResort
	}
	if len(u.live) == 0 {
		u.Why = why(instances)
	}
	u.picker = balance.New(strategyOf(instances), u.live)
	return u
}

// reweighed returns an endpoint that shares the connections. Requests in flight on the old one are
// not counted on it: they only made it look busier.
func (e *Endpoint) reweighed(weight int) *Endpoint {
	return &Endpoint{ID: e.ID, Addr: e.Addr, Connections: e.Connections, weight: weight}
}

// sameInstances compares by identity: records are immutable, so an unchanged one is the same pointer.
func sameInstances(a, b []*mesh.Instance) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// strategyOf is the word of the first instance that has one, as the family's router took it.
func strategyOf(instances []*mesh.Instance) balance.Strategy {
	for _, in := range instances {
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
	draining, failing, https := 0, 0, 0
	for _, in := range instances {
		switch {
		case in.Draining:
			draining++
		case strings.EqualFold(in.Metadata["scheme"], "https"):
			https++
		default:
			failing++
		}
	}
	var parts []string
	for _, p := range [...]struct {
		n    int
		what string
	}{{failing, "failing"}, {draining, "draining"}, {https, "asking for https, which this gateway does not speak to endpoints"}} {
		if p.n > 0 {
			parts = append(parts, strconv.Itoa(p.n)+" "+p.what)
		}
	}
	return "of its instances " + strings.Join(parts, ", ")
}
