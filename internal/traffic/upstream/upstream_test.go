package upstream_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/traffic/balance"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// conns counts what is done to it.
type conns struct {
	addr          string
	swept, closed int
}

func (c *conns) Sweep(time.Time) { c.swept++ }
func (c *conns) Close()          { c.closed++ }

// opener remembers the addresses that it was asked for.
type opener struct{ opened []string }

func (o *opener) open(to upstream.Target) upstream.Connections {
	addr := to.Addr
	if to.Secure {
		addr = "https://" + addr
	}
	o.opened = append(o.opened, addr)
	return &conns{addr: addr}
}

func instance(id, addr string, port int, change ...func(*mesh.Instance)) *mesh.Instance {
	in := &mesh.Instance{ID: id, Service: "Web", Address: addr, Port: port, Metadata: map[string]string{}}
	for _, f := range change {
		f(in)
	}
	return in
}

func health(h mesh.Health) func(*mesh.Instance) { return func(in *mesh.Instance) { in.Health = h } }
func draining(in *mesh.Instance)                { in.Draining = true }

func meta(k, v string) func(*mesh.Instance) {
	return func(in *mesh.Instance) { in.Metadata[k] = v }
}

func addrs(list []*upstream.Endpoint) []string {
	out := []string{}
	for _, e := range list {
		out = append(out, e.Addr)
	}
	return out
}

func TestWhoMayBePicked(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []*mesh.Instance
		live []string
		why  string
	}{
		{"passing ones", []*mesh.Instance{instance("a", "10.0.0.1", 80), instance("b", "10.0.0.2", 80)}, []string{"10.0.0.1:80", "10.0.0.2:80"}, ""},
		{"an IPv6 address has its brackets", []*mesh.Instance{instance("a", "::1", 80)}, []string{"[::1]:80"}, ""},
		{"failing ones are left out", []*mesh.Instance{instance("a", "10.0.0.1", 80), instance("b", "10.0.0.2", 80, health(mesh.Failing))}, []string{"10.0.0.1:80"}, ""},
		{"draining ones are left out", []*mesh.Instance{instance("a", "10.0.0.1", 80, draining), instance("b", "10.0.0.2", 80)}, []string{"10.0.0.2:80"}, ""},
		{"degraded ones are left out while one is passing", []*mesh.Instance{instance("a", "10.0.0.1", 80, health(mesh.Degraded)), instance("b", "10.0.0.2", 80)}, []string{"10.0.0.2:80"}, ""},
		{"degraded and suspect ones are the last resort", []*mesh.Instance{instance("a", "10.0.0.1", 80, health(mesh.Degraded)), instance("b", "10.0.0.2", 80, health(mesh.Suspect)), instance("c", "10.0.0.3", 80, health(mesh.Failing))}, []string{"10.0.0.1:80", "10.0.0.2:80"}, ""},
		{"a draining one is no last resort", []*mesh.Instance{instance("a", "10.0.0.1", 80, health(mesh.Degraded), draining)}, []string{}, "of its instances 1 draining"},
		{"why names each kind", []*mesh.Instance{instance("a", "h", 1, health(mesh.Failing)), instance("b", "h", 2, draining), instance("c", "h", 3, health(mesh.Failing))}, []string{}, "of its instances 2 failing, 1 draining"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var o opener
			u := upstream.Build(nil, source(tc.in), o.open)
			if diff := cmp.Diff(tc.live, addrs(u.Live())); diff != "" {
				t.Errorf("live (-want +got):\n%s", diff)
			}
			if u.Why != tc.why || u.Service != "Web" || u.Instances != len(tc.in) || len(u.All()) != len(tc.in) {
				t.Errorf("why %q, service %q, %d instances, %d endpoints; want why %q", u.Why, u.Service, u.Instances, len(u.All()), tc.why)
			}
			var tried balance.Tried
			for range len(tc.live) {
				e := u.Acquire(&tried)
				if e == nil || !slices.Contains(tc.live, e.Addr) || e.InFlight() != 1 {
					t.Fatalf("acquired %+v", e)
				}
				u.Release(e, upstream.Neutral)
				if e.InFlight() != 0 {
					t.Errorf("%d in flight after release", e.InFlight())
				}
			}
			if e := u.Acquire(&tried); e != nil {
				t.Errorf("acquired %s though all were tried", e.Addr)
			}
		})
	}
}

func TestEndpointsOutliveARebuild(t *testing.T) {
	var o opener
	a, b := instance("a", "10.0.0.1", 80), instance("b", "10.0.0.2", 80)
	first := upstream.Build(nil, source([]*mesh.Instance{a, b}), o.open)
	var tried balance.Tried
	busy := first.Acquire(&tried)

	t.Run("nothing changed", func(t *testing.T) {
		if u := upstream.Build(first, source([]*mesh.Instance{a, b}), o.open); u != first {
			t.Error("the same instances made another upstream")
		}
	})
	t.Run("a new instance and a changed verdict keep the others as they are", func(t *testing.T) {
		b2, c := instance("b", "10.0.0.2", 80, health(mesh.Failing)), instance("c", "10.0.0.3", 80)
		o.opened = nil
		u := upstream.Build(first, source([]*mesh.Instance{a, b2, c}), o.open)
		if u.All()[0] != first.All()[0] || u.All()[1] != first.All()[1] {
			t.Error("endpoints were made anew")
		}
		if diff := cmp.Diff([]string{"10.0.0.3:80"}, o.opened); diff != "" {
			t.Errorf("opened (-want +got):\n%s", diff)
		}
		if got := u.All()[slices.Index(addrs(u.All()), busy.Addr)].InFlight(); got != 1 {
			t.Errorf("the busy endpoint has %d in flight, want 1", got)
		}
	})
	t.Run("another address is another endpoint", func(t *testing.T) {
		o.opened = nil
		u := upstream.Build(first, source([]*mesh.Instance{instance("a", "10.0.0.9", 80), b}), o.open)
		if u.All()[0] == first.All()[0] || u.All()[1] != first.All()[1] {
			t.Error("want a new endpoint for the address that changed, and that one alone")
		}
		if diff := cmp.Diff([]string{"10.0.0.9:80"}, o.opened); diff != "" {
			t.Errorf("opened (-want +got):\n%s", diff)
		}
	})
	t.Run("another weight keeps the connections", func(t *testing.T) {
		o.opened = nil
		u := upstream.Build(first, source([]*mesh.Instance{instance("a", "10.0.0.1", 80, meta("weight", "7")), b}), o.open)
		e := u.All()[0]
		if e.Weight() != 7 || e.Connections != first.All()[0].Connections || len(o.opened) != 0 {
			t.Errorf("weight %d, opened %v", e.Weight(), o.opened)
		}
	})
}

func TestWeightsAndStrategiesComeFromMetadata(t *testing.T) {
	for value, want := range map[string]int{"": 1, "5": 5, "0": 1, "-3": 1, "x": 1, "1.5": 1, "9223372036854775807": 1 << 16, "99999999999999999999": 1} {
		var o opener
		u := upstream.Build(nil, source([]*mesh.Instance{instance("a", "h", 1, meta("weight", value))}), o.open)
		if got := u.All()[0].Weight(); got != want {
			t.Errorf("weight %q is %d, want %d", value, got, want)
		}
	}
	// In turn means exactly in turn; two random choices do not manage that.
	var o opener
	list := []*mesh.Instance{instance("a", "h", 1), instance("b", "h", 2, meta("lb_strategy", "RoundRobin")), instance("c", "h", 3, meta("lb_strategy", "LeastConnections"))}
	u := upstream.Build(nil, source(list), o.open)
	var picked []string
	for range 9 {
		var tried balance.Tried
		e := u.Acquire(&tried)
		picked = append(picked, e.Addr)
		u.Release(e, upstream.Neutral)
	}
	if got, want := strings.Join(picked, " "), strings.Repeat("h:1 h:2 h:3 ", 3); got+" " != want {
		t.Errorf("picked %q, want %q: the first word counts", got, want)
	}
}

func source(instances []*mesh.Instance) upstream.Source {
	src := upstream.Source{Instances: instances}
	if len(instances) > 0 {
		src.Service = instances[0].Service
	}
	return src
}
