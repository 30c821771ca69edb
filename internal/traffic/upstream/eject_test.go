package upstream_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/balance"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// of builds an upstream of endpoints of the file, and counts what it tells.
func of(told *int, addrs ...string) *upstream.Upstream {
	return upstream.Build(nil, upstream.Source{Service: "svc", Endpoints: addrs, Strategy: "RoundRobin", Ejected: func() { *told++ }},
		func(upstream.Target) upstream.Connections { return nil })
}

// first is the address of the endpoint that things happen to.
const first = "a:1"

// take acquires the first endpoint.
func take(t *testing.T, u *upstream.Upstream) *upstream.Endpoint {
	t.Helper()
	e := acquire(u, first)
	if e == nil {
		t.Fatalf("%s is never picked", first)
	}
	return e
}

// endpoint is the status of the first endpoint.
func endpoint(u *upstream.Upstream) mesh.EndpointStatus {
	for _, e := range u.Status(time.Now()).Endpoints {
		if e.Address == first {
			return e
		}
	}
	return mesh.EndpointStatus{}
}

func TestAnEndpointThatIsEjectedSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		u := of(&told, first, "b:1", "c:1")
		for i := range 5 {
			if got := endpoint(u); !got.Picked || got.Failures != i || !got.EjectedAt.IsZero() || got.Share != 1 {
				t.Fatalf("after %d failures: %+v", i, got)
			}
			e := take(t, u)
			e.Blame("TOSKA-UP-UNWELL")
			u.Release(e, upstream.Failed)
		}
		now := time.Now()
		got := endpoint(u)
		if got.Picked || got.EjectedFor != "5 attempts in a row failed, the last with TOSKA-UP-UNWELL" || !got.EjectedAt.Equal(now) ||
			!got.EjectedUntil.Equal(now.Add(5*time.Second)) || got.LastFailure != "TOSKA-UP-UNWELL" || !got.LastFailureAt.Equal(now) || got.Share != 0 {
			t.Errorf("once it is out: %+v", got)
		}
		if told != 1 || u.Counts.Ejections() != 1 || u.Out(now) != 1 {
			t.Errorf("told %d times, %d ejections, %d out; want 1 of each", told, u.Counts.Ejections(), u.Out(now))
		}
		time.Sleep(5 * time.Second)
		if got := endpoint(u); !got.Picked || !got.EjectedUntil.IsZero() || got.Share != 0.1 {
			t.Errorf("when it comes back: %+v", got)
		}
		u.Release(take(t, u), upstream.Served)
		time.Sleep(5 * time.Second)
		if got := endpoint(u); got.Share < 0.5 || got.Share > 0.6 || !strings.Contains(got.Why, "warms up") {
			t.Errorf("half warm: %+v", got)
		}
	})
}

func TestAnEndpointThatFailsAsSoonAsItIsBackIsOutForLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		u := of(&told, first, "b:1", "c:1")
		fail := func() {
			e := take(t, u)
			e.Blame("TOSKA-UP-RESET")
			u.Release(e, upstream.Failed)
		}
		for range 5 {
			fail()
		}
		for n, want := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second} {
			if got := time.Until(endpoint(u).EjectedUntil); got != want || told != n+1 {
				t.Errorf("time %d: out for %v and told %d times, want %v", n+1, got, told, want)
			}
			time.Sleep(want)
			if got := endpoint(u); !got.Picked || strings.Contains(got.Why, "all the same") {
				t.Errorf("back for the %d. time: %+v", n+1, got)
			}
			fail()
		}
		time.Sleep(time.Minute)
		u.Release(take(t, u), upstream.Served)
		fail()
		if got := endpoint(u); got.Failures != 1 || !got.EjectedAt.IsZero() {
			t.Errorf("after it served: %+v", got)
		}
	})
}

func TestAnEndpointThatMustStaySaysWhy(t *testing.T) {
	told := 0
	u := of(&told, first)
	for range 7 {
		e := take(t, u)
		e.Blame("TOSKA-UP-CONN-REFUSED")
		u.Release(e, upstream.Failed)
	}
	if got := endpoint(u); !got.Picked || got.Failures != 7 || !strings.Contains(got.Why, "7 attempts in a row failed; it is picked all the same") || told != 0 {
		t.Errorf("told %d times, %+v", told, got)
	}
}

func TestARequestToBeLeftAloneIsBounded(t *testing.T) {
	out := func(u *upstream.Upstream) time.Duration { return time.Until(endpoint(u).EjectedUntil) }
	rest := func(t *testing.T, u *upstream.Upstream, d time.Duration) {
		t.Helper()
		e := take(t, u)
		u.Rest(e, d)
		u.Release(e, upstream.Failed)
	}
	synctest.Test(t, func(t *testing.T) {
		told := 0
		u := of(&told, first, "b:1", "c:1")
		inFlight := []*upstream.Endpoint{take(t, u), take(t, u)}
		rest(t, u, time.Hour)
		if got := out(u); got != 30*time.Second {
			t.Errorf("out for %v by one Retry-After, want 30s", got)
		}
		for _, e := range inFlight { // they were under way, and are no proof that it goes on
			u.Rest(e, time.Hour)
			u.Rest(e, time.Second)
			u.Release(e, upstream.Failed)
		}
		if got := out(u); got != 30*time.Second || told != 1 {
			t.Errorf("out for %v, told %d times; want the time as it was", got, told)
		}
		time.Sleep(31 * time.Second)
		rest(t, u, time.Hour)
		if got := out(u); got != 5*time.Minute {
			t.Errorf("out for %v when it asks again as soon as it is back, want 5m", got)
		}
	})
}

func TestAStatusTellsOfInstancesThatAreNotPicked(t *testing.T) {
	var o opener
	u := upstream.Build(nil, source([]*mesh.Instance{instance("a", "h", 1), instance("b", "h", 2, health(mesh.Failing)), instance("c", "h", 3, draining)}), o.open)
	st := u.Status(time.Now())
	if st.Source != mesh.UpstreamRegistry || st.Service != "Web" || len(st.Endpoints) != 3 {
		t.Fatalf("status %+v", st)
	}
	for i, want := range []struct {
		id, why string
		picked  bool
	}{{"a", "", true}, {"b", "failing", false}, {"c", "drains", false}} {
		if got := st.Endpoints[i]; got.Instance != want.id || got.Why != want.why || got.Picked != want.picked {
			t.Errorf("endpoint %d is %+v, want %+v", i, got, want)
		}
	}
	src := source([]*mesh.Instance{instance("a", "h", 1)})
	src.Endpoints = []string{"x:1", "y:1"}
	if st := upstream.Build(u, src, o.open).Status(time.Now()); st.Source != mesh.UpstreamFile || st.Overridden != 1 || len(st.Endpoints) != 2 || st.Endpoints[0].Instance != "" {
		t.Errorf("with endpoints of the file: %+v", st)
	}
}

func TestShortTimesThatAreMissedCountInARowWhileAnotherAnswers(t *testing.T) {
	answer := func(u *upstream.Upstream) {
		for _, e := range u.Live() {
			if e.Addr != first {
				u.Release(acquire(u, e.Addr), upstream.Served)
			}
		}
	}
	for _, tt := range []struct {
		name    string
		between func(t *testing.T, u *upstream.Upstream, n int) // what happens after each miss
		misses  int
		out     bool
	}{
		{"each is missed, and the others answer", func(_ *testing.T, u *upstream.Upstream, _ int) { answer(u) }, 7, true},
		{"two say nothing, and five of the others put it out", func(_ *testing.T, u *upstream.Upstream, _ int) { answer(u) }, 6, false},
		{"nobody answers", func(*testing.T, *upstream.Upstream, int) {}, 50, false},
		{"it answers now and then", func(t *testing.T, u *upstream.Upstream, n int) {
			answer(u)
			if n%5 == 4 {
				u.Release(take(t, u), upstream.Served)
			}
		}, 50, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			told := 0
			u := of(&told, first, "b:1", "c:1")
			answer(u) // long ago
			for n := range tt.misses {
				u.Release(take(t, u), upstream.Missed)
				tt.between(t, u, n)
			}
			if out := told == 1; out != tt.out {
				t.Errorf("out: %v after %d misses, want %v", out, tt.misses, tt.out)
			}
		})
	}
}

// acquire acquires the endpoint at an address; nil if it is never picked.
func acquire(u *upstream.Upstream, addr string) *upstream.Endpoint {
	for range 1000 {
		var tried balance.Tried
		e := u.Acquire(&tried)
		if e.Addr == addr {
			return e
		}
		u.Release(e, upstream.Neutral)
	}
	return nil
}
