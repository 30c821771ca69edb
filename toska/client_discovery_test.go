package toska_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestWhileDiscoveryIsAwayCallsGoToTheInstancesThatWereLastKnown(t *testing.T) {
	a, b := serve(t, "a", nil), serve(t, "b", nil)
	d := newFakeDiscovery(a.Instance)
	c := newClient(t, d)
	mustGet(t, c)
	d.leave(errAway)
	for range 20 {
		if got := mustGet(t, c); got != "a" {
			t.Fatalf("got %q", got)
		}
	}
	d.set(b.Instance)
	d.leave(nil)
	eventually(t, "the new instance", func() bool { return endpoints(t, c) == "b" })
	if got := mustGet(t, c); got != "b" {
		t.Errorf("got %q from what discovery knows now", got)
	}
}

func TestARegistryThatComesBackEmptyIsNotBelievedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeDiscovery(instanceAt("a", "10.0.0.1:80"))
		c := newClient(t, d)
		u, err := c.Upstream("orders")
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		synctest.Wait()
		d.leave(errAway)
		synctest.Wait()
		d.set()
		d.leave(nil)
		time.Sleep(9 * time.Second)
		if got := endpoints(t, c); got != "a" {
			t.Errorf("9 s after its return, the endpoints are %q; want those that were last known", got)
		}
		d.set(instanceAt("b", "10.0.0.2:80"))
		synctest.Wait()
		if got := endpoints(t, c); got != "b" {
			t.Errorf("the endpoints are %q once one came back", got)
		}
		d.set()
		synctest.Wait()
		if got := endpoints(t, c); got != "" {
			t.Errorf("the endpoints are %q after the last one left in plain sight", got)
		}
	})
}

func TestARegistryThatStaysEmptyIsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeDiscovery(instanceAt("a", "10.0.0.1:80"))
		c := newClient(t, d)
		u, err := c.Upstream("orders")
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		synctest.Wait()
		d.leave(errAway)
		synctest.Wait()
		d.set()
		d.leave(nil)
		time.Sleep(20 * time.Second)
		if got := endpoints(t, c); got != "" {
			t.Errorf("20 s later the endpoints are %q", got)
		}
	})
}

func TestTheFirstCallWaitsForDiscoveryButNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeDiscovery()
		d.leave(errAway)
		c := newClient(t, d)
		began := time.Now()
		_, _, err := get(t.Context(), c, "toska://orders/x")
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("it waited %v, want 5 s", took)
		}
		if codeOf(t, err) != mesh.CodeUnavailable || !strings.Contains(err.Error(), "the node is away") {
			t.Errorf("error %v, want why discovery is not heard", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		_, _, err = get(ctx, c, "toska://orders/x")
		if took := time.Since(began); took != time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

func TestAServiceThatIsNotCalledIsNoLongerFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeDiscovery(instanceAt("a", "10.0.0.1:80"))
		c := newClient(t, d)
		endpoints(t, c)
		held, err := c.Upstream("held")
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		watches := func() int { d.mu.Lock(); defer d.mu.Unlock(); return d.watches }
		time.Sleep(time.Hour)
		endpoints(t, c)
		synctest.Wait()
		late := instanceAt("late", "10.0.0.2:80")
		late.Service = "held"
		d.set(late)
		synctest.Wait()
		if list, _, _ := held.Endpoints(); len(list) != 1 {
			t.Error("a service whose handle is open was followed no longer")
		}
		if got := watches(); got != 3 {
			t.Errorf("%d watches, want a second one of orders and one of the service whose handle is open", got)
		}
	})
}

func TestACloseEndsWhatTheClientBegan(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	b := serve(t, "a", nil)
	defer b.server.Close()
	c := newClient(t, newFakeDiscovery(b.Instance))
	mustGet(t, c)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := get(t.Context(), c, "toska://other/x"); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a call after Close: %v", err)
	}
	_ = c.Close()
}

func TestNamesThatNobodyRegisteredAreNotFollowedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeDiscovery(instanceAt("a", "10.0.0.1:80"))
		c := newClient(t, d)
		endpoints(t, c)
		synctest.Wait()
		unknown := func(n int) {
			for i := range n {
				_, _, err := get(t.Context(), c, fmt.Sprintf("toska://unknown-%d/x", i))
				if !errors.Is(err, mesh.ErrNotFound) {
					t.Fatalf("call %d of an unknown name: %v", i, err)
				}
			}
		}
		unknown(400)
		synctest.Wait()
		if n := d.following(); n > 256 {
			t.Errorf("%d services are followed, want 256 at the most", n)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if n := d.following(); n != 1 {
			t.Errorf("after 11 s %d services are followed, want the one that has instances", n)
		}
		began := d.began()
		endpoints(t, c)
		if d.began() != began {
			t.Error("the service with instances was dropped for names without")
		}
	})
}

func TestOfTooManyServicesTheOneThatWasNotCalledForLongestIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []*mesh.Instance
		for i := range 300 {
			in := instanceAt(fmt.Sprintf("a-%d", i), "10.0.0.1:80")
			in.Service = fmt.Sprintf("s-%d", i)
			all = append(all, in)
		}
		d := newFakeDiscovery(all...)
		c := newClient(t, d)
		pinned, err := c.Upstream("s-0")
		if err != nil {
			t.Fatal(err)
		}
		defer pinned.Close()
		for i := range 300 {
			u, err := c.Upstream(fmt.Sprintf("s-%d", i))
			if err != nil {
				t.Fatalf("service %d: %v", i, err)
			}
			if _, err := u.Call(t.Context()); err != nil {
				t.Fatalf("service %d: %v", i, err)
			}
			u.Close()
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if n := d.following(); n != 256 {
			t.Errorf("%d services are followed, want 256", n)
		}
		began := d.began()
		for _, tt := range []struct {
			service string
			anew    int
		}{{"s-0", 0}, {"s-299", 0}, {"s-1", 1}} {
			u, err := c.Upstream(tt.service)
			if err != nil {
				t.Fatal(err)
			}
			u.Close()
			synctest.Wait()
			if got := d.began() - began; got != tt.anew {
				t.Errorf("%d watches were begun anew up to %s, want %d", got, tt.service, tt.anew)
			}
		}
	})
}

func TestNamesBeyondWhatIsFollowedAreRefusedWhileDiscoveryIsMute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeDiscovery()
		d.leave(errAway)
		c := newClient(t, d)
		var wg sync.WaitGroup
		var refused atomic.Int64
		for i := range 300 {
			wg.Go(func() {
				began := time.Now()
				_, _, err := get(t.Context(), c, fmt.Sprintf("toska://s-%d/x", i))
				if !errors.Is(err, mesh.ErrUnavailable) {
					t.Errorf("call %d: %v", i, err)
				}
				if time.Since(began) == 0 {
					refused.Add(1)
				}
			})
		}
		wg.Wait()
		if n := refused.Load(); n != 300-256 {
			t.Errorf("%d calls were refused at once, want those beyond 256", n)
		}
	})
}
