package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// upstreams is what a gateway says of the services that it picks from, by service key. A nil one is of a
// node that does not say: then only the registry's word is shown.
type upstreams map[string]*mesh.UpstreamStatus

// upstreamsOf asks the node for what its gateway sees of a service, or of all. It explains and completes
// what the registry knows; without it the rest is as true.
func upstreamsOf(ctx context.Context, c mesh.Routing, service string) upstreams {
	list, err := c.Upstreams(ctx, service)
	if err != nil {
		return nil
	}
	out := make(upstreams, len(list))
	for i := range list {
		out[mesh.ServiceKey(list[i].Service)] = &list[i]
	}
	return out
}

// of returns the upstream of a service; nil for none.
func (u upstreams) of(service string) *mesh.UpstreamStatus { return u[mesh.ServiceKey(service)] }

// fromFile returns the upstreams whose endpoints are the file's, by service.
func (u upstreams) fromFile() []*mesh.UpstreamStatus {
	var out []*mesh.UpstreamStatus
	for _, up := range u {
		if up.Source == mesh.UpstreamFile {
			out = append(out, up)
		}
	}
	slices.SortFunc(out, func(a, b *mesh.UpstreamStatus) int {
		return cmp.Compare(mesh.ServiceKey(a.Service), mesh.ServiceKey(b.Service))
	})
	return out
}

// endpointOf returns what the gateway sees of an instance; nil where it sees nothing.
func (u upstreams) endpointOf(i *mesh.Instance) *mesh.EndpointStatus {
	up := u.of(i.Service)
	if up == nil {
		return nil
	}
	for n := range up.Endpoints {
		if e := &up.Endpoints[n]; e.Instance == i.ID {
			return e
		}
	}
	return nil
}

// stateOf is the word on an instance's place in the rotation, beside its health; empty for nothing to say.
func (u upstreams) stateOf(i *mesh.Instance) string {
	up := u.of(i.Service)
	switch e := u.endpointOf(i); {
	case i.Draining:
		return "draining"
	case up != nil && up.Source == mesh.UpstreamFile:
		return "overridden"
	case up != nil && blocked(up):
		return "quarantined"
	case e != nil && ejected(e):
		return "ejected"
	}
	return ""
}

// blocked reports whether the service is answered 503 because its entry in the file is quarantined.
func blocked(u *mesh.UpstreamStatus) bool { return u.Quarantined != "" && u.Why != "" }

func ejected(e *mesh.EndpointStatus) bool { return !e.EjectedUntil.IsZero() }

// fileState is the word on an endpoint of the file.
func fileState(u *mesh.UpstreamStatus, e *mesh.EndpointStatus) string {
	switch {
	case blocked(u):
		return "quarantined"
	case ejected(e):
		return "ejected"
	case e.Failures > 0:
		return "failing"
	}
	return "file"
}

// pickedOf counts the endpoints that are picked from, and those that are ejected.
func pickedOf(u *mesh.UpstreamStatus) (picked, out int) {
	for i := range u.Endpoints {
		if u.Endpoints[i].Picked {
			picked++
		}
		if ejected(&u.Endpoints[i]) {
			out++
		}
	}
	return picked, out
}

type ejectedJSON struct {
	Service string    `json:"service"`
	Address string    `json:"address"`
	Until   time.Time `json:"until"`
	Reason  string    `json:"reason"`
}

// ejected returns the endpoints that are out, by service.
func (u upstreams) ejected() []ejectedJSON {
	var out []ejectedJSON
	for _, key := range slices.Sorted(maps.Keys(u)) {
		for i := range u[key].Endpoints {
			if e := &u[key].Endpoints[i]; ejected(e) {
				out = append(out, ejectedJSON{u[key].Service, e.Address, e.EjectedUntil, e.EjectedFor})
			}
		}
	}
	return out
}

// seenText tells what the gateway has seen of an endpoint.
func seenText(e *mesh.EndpointStatus, now time.Time) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch {
	case ejected(e):
		add("ejected %s ago, for another %s: %s", age(now, e.EjectedAt), max(0, e.EjectedUntil.Sub(now)).Round(time.Second), e.EjectedFor)
	case e.Why != "" && e.Picked:
		add("%s", e.Why)
	}
	if e.InFlight > 0 {
		add("%d in flight", e.InFlight)
	}
	if e.LastFailure != "" {
		row := ""
		if e.Failures > 0 {
			row = fmt.Sprintf("%d in a row, ", e.Failures)
		}
		add("last failure %s%s ago: %s", row, age(now, e.LastFailureAt), e.LastFailure)
	}
	return strings.Join(parts, "; ")
}

// overrides says that the file's endpoints stand in the place of instances; empty where they do not.
func overrides(u *mesh.UpstreamStatus) string {
	if u.Source != mesh.UpstreamFile || u.Overridden == 0 {
		return ""
	}
	return "they stand in the place of " + count(u.Overridden, "registered instance")
}

// quarantineText tells of an entry of the file that is not in force; empty for none.
func quarantineText(u *mesh.UpstreamStatus) string {
	switch {
	case u.Quarantined == "":
		return ""
	case blocked(u):
		return "the file's entry is quarantined, and the gateway answers 503 (toska help TOSKA-ROUTE-QUARANTINED): " + u.Quarantined
	}
	return "the file's entry is quarantined, and its last good one is in force: " + u.Quarantined
}

type endpointJSON struct {
	Address       string     `json:"address"`
	Instance      string     `json:"instance,omitempty"`
	Picked        bool       `json:"picked"`
	Why           string     `json:"why,omitempty"`
	InFlight      int64      `json:"inFlight"`
	Failures      int        `json:"failures"`
	LastFailure   string     `json:"lastFailure,omitempty"`
	LastFailureAt *time.Time `json:"lastFailureAt,omitempty"`
	EjectedAt     *time.Time `json:"ejectedAt,omitempty"`
	EjectedUntil  *time.Time `json:"ejectedUntil,omitempty"`
	EjectedFor    string     `json:"ejectedFor,omitempty"`
	Share         float64    `json:"share"`
}

func toEndpointsJSON(u *mesh.UpstreamStatus) []endpointJSON {
	var out []endpointJSON
	if u == nil {
		return nil
	}
	some := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	for _, e := range u.Endpoints {
		out = append(out, endpointJSON{Address: e.Address, Instance: e.Instance, Picked: e.Picked, Why: e.Why, InFlight: e.InFlight,
			Failures: e.Failures, LastFailure: e.LastFailure, LastFailureAt: some(e.LastFailureAt), EjectedAt: some(e.EjectedAt),
			EjectedUntil: some(e.EjectedUntil), EjectedFor: e.EjectedFor, Share: e.Share})
	}
	return out
}
