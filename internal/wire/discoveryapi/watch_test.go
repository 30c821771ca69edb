package discoveryapi_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func loopback() httpapi.Listener {
	return httpapi.Listener{Name: httpapi.ListenerControl, Loopback: true, ErrorPages: true}
}

func TestWatchYieldsWholeSnapshots(t *testing.T) {
	n := start(t)
	c := n.client(t, adminToken)
	for i := range 3 {
		r := web(fmt.Sprint("w", i))
		r.Service = fmt.Sprint("s", i)
		if _, err := c.Register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	steps := []func() error{
		func() error { return c.Drain(t.Context(), mesh.Ref{ID: "w0"}) },
		func() error { return c.Deregister(t.Context(), mesh.Ref{ID: "w1"}) },
		func() error { _, err := c.Register(t.Context(), web("new")); return err },
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	step := 0
	for got, err := range c.Watch(ctx, mesh.Revision{}) {
		if err != nil {
			t.Fatal(err)
		}
		want, err := n.registry.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got.Revision.Before(want.Revision) {
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("after step %d the snapshot differs (-registry +watch):\n%s", step, diff)
		}
		if step == len(steps) {
			break
		}
		if err := steps[step](); err != nil {
			t.Fatal(err)
		}
		step++
	}
	if step != len(steps) {
		t.Errorf("the watch ended after %d steps, want %d", step, len(steps))
	}
}

func TestWatchFromTheCurrentRevisionWaits(t *testing.T) {
	n := start(t)
	c := n.client(t, serviceToken)
	first, err := c.Register(t.Context(), web("w0"))
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *mesh.Snapshot, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		defer close(got)
		for s, err := range c.Watch(ctx, first.Revision) {
			if err != nil {
				t.Error(err)
			}
			got <- s
			return
		}
	}()
	if _, err := c.Register(t.Context(), web("w1")); err != nil {
		t.Fatal(err)
	}
	within(t, "a snapshot", func() {
		s := <-got
		if s == nil || !first.Revision.Before(s.Revision) || s.Instances() != 2 {
			t.Errorf("got %+v, want two instances after %s", s, first.Revision)
		}
	})
}

func TestWatchEndsWhenTheNodeStops(t *testing.T) {
	n := start(t)
	c := n.client(t, serviceToken)
	if _, err := c.Register(t.Context(), web("w0")); err != nil {
		t.Fatal(err)
	}
	var last error
	within(t, "the end of the watch", func() {
		for _, err := range c.Watch(t.Context(), mesh.Revision{}) {
			last = err
			if err == nil {
				n.stop()
			}
		}
	})
	if !errors.Is(last, mesh.ErrUnavailable) {
		t.Errorf("the watch ended with %v, want unavailable", last)
	}
}

func TestAWatchOfOneServiceTellsOfNoOther(t *testing.T) {
	n := start(t)
	c := n.client(t, serviceToken)
	register := func(service, id string) {
		t.Helper()
		r := web(id)
		r.Service = service
		if _, err := c.Register(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	ids := func(s *mesh.Snapshot) (out []string) {
		for _, i := range s.Services["orders"] {
			out = append(out, i.ID)
		}
		return out
	}
	register("other", "x0")
	steps := []func(){
		func() { register("other", "x1"); register("Orders", "o0") },
		func() { register("other", "x2"); register("orders", "o1") },
	}
	want := [][]string{nil, {"o0"}, {"o0", "o1"}}
	var got [][]string
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	within(t, "three snapshots", func() {
		for s, err := range c.WatchService(ctx, "ORDERS", mesh.Revision{}) {
			if err != nil {
				t.Error(err)
				return
			}
			if s.Instances() != len(s.Services["orders"]) {
				t.Errorf("the snapshot holds other services: %v", s.Services)
			}
			got = append(got, ids(s))
			if len(got) > len(steps) {
				return
			}
			steps[len(got)-1]()
		}
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("snapshots of the service (-want +got):\n%s", diff)
	}
}
