package discoveryapi_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// await waits until the registry's snapshot satisfies ok.
func await(t *testing.T, d mesh.Discovery, what string, ok func(*mesh.Snapshot) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for s, err := range d.Watch(ctx, mesh.Revision{}) {
		if err != nil {
			t.Fatalf("waiting until %s: %v", what, err)
		}
		if ok(s) {
			return
		}
	}
	t.Fatalf("it never came that %s", what)
}

func health(id string, want mesh.Health) func(*mesh.Snapshot) bool {
	return func(s *mesh.Snapshot) bool {
		for _, i := range s.Services["web"] {
			if i.ID == id {
				return i.Health == want
			}
		}
		return false
	}
}

func TestTheOlderOfTwoOwnersIsTurnedAway(t *testing.T) {
	n := start(t)
	older, later := web("web-1"), web("web-1")
	older.Owner, later.Owner = "A", "B"
	a, err := n.client(t, serviceToken).Open(t.Context(), older, 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := n.client(t, serviceToken).Open(t.Context(), later, 0)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := n.client(t, serviceToken).Open(t.Context(), older, a.Instance().Incarnation); !errors.Is(err, mesh.ErrStale) {
		t.Errorf("Open of the older = %v, %v, want ErrStale", s, err)
	}
	if b.Err() != nil {
		t.Errorf("the later one's session ended: %v", b.Err())
	}
}

func TestASessionIsToldThatItsInstanceDrains(t *testing.T) {
	n := start(t)
	s, err := n.client(t, serviceToken).Open(t.Context(), web("web-1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Renew(t.Context()); err != nil || s.Instance().Draining {
		t.Errorf("Renew = %v, draining is %v", err, s.Instance().Draining)
	}
	if err := n.client(t, serviceToken).Drain(t.Context(), mesh.Ref{ID: "web-1"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Renew(t.Context()); err != nil || !s.Instance().Draining {
		t.Errorf("after the drain Renew = %v, draining is %v, want it told", err, s.Instance().Draining)
	}
}

func TestSessionRenewsAndReports(t *testing.T) {
	n := start(t)
	s, err := n.client(t, serviceToken).Open(t.Context(), web("web-1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := n.registry.Stats().Sessions; got != 1 {
		t.Errorf("the registry holds %d sessions, want 1", got)
	}
	if s.Instance().ID != "web-1" || s.Instance().Incarnation == 0 {
		t.Errorf("opened %+v, want web-1 with an incarnation", s.Instance())
	}
	if err := s.Renew(t.Context()); err != nil {
		t.Errorf("Renew: %v", err)
	}
	if err := s.Report(t.Context(), mesh.Report{Health: mesh.Failing, Output: "no database"}); err != nil {
		t.Fatal(err)
	}
	await(t, n.registry, "the instance is failing", health("web-1", mesh.Failing))
	if err := s.Report(t.Context(), mesh.Report{Health: mesh.Suspect}); !errors.Is(err, mesh.ErrInvalid) {
		t.Errorf("reporting suspect: %v, want invalid", err)
	}
	if err := s.Renew(t.Context()); err != nil {
		t.Errorf("a refused report ended the session: %v", err)
	}
	s.Close(false)
	select {
	case <-s.Done():
		t.Error("Close closed Done")
	default:
	}
	if err := s.Renew(t.Context()); err == nil {
		t.Error("a closed session still renews")
	}
}

func TestLettingGoKeepsTheInstancePassing(t *testing.T) {
	n := start(t)
	c := n.client(t, serviceToken)
	kept, err := c.Open(t.Context(), web("kept"), 0)
	if err != nil {
		t.Fatal(err)
	}
	broken, err := c.Open(t.Context(), web("broken"), 0)
	if err != nil {
		t.Fatal(err)
	}
	kept.Close(false)
	broken.Close(true)
	// The broken one fails after its grace; by then the other would have failed as well.
	await(t, n.registry, "the broken instance is failing", health("broken", mesh.Failing))
	s, err := n.registry.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !health("kept", mesh.Passing)(s) {
		t.Error("an instance that let go of its session is not passing")
	}
}

func TestN17BrokenConnectionMakesTheInstanceFailing(t *testing.T) {
	n := start(t)
	c := discoveryapi.NewClient(n.addr, serviceToken)
	if _, err := c.Open(t.Context(), web("web-1"), 0); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	c.Close()
	await(t, n.registry, "the instance is failing", health("web-1", mesh.Failing))
	if took := time.Since(begun); took > time.Second {
		t.Errorf("it took %s, want less than 1 s", took)
	}
}

func TestStoppingNodeEndsSessionsWithoutLoss(t *testing.T) {
	n := start(t)
	s, err := n.client(t, serviceToken).Open(t.Context(), web("web-1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	n.stop()
	if took := time.Since(begun); took > time.Second {
		t.Errorf("stopping took %s, want less than 1 s", took)
	}
	within(t, "the end of the session", func() { <-s.Done() })
	if !errors.Is(s.Err(), mesh.ErrUnavailable) {
		t.Errorf("session ended with %v, want unavailable", s.Err())
	}
	// A broken session would make it failing after the grace, so something after it has to be awaited.
	other := serve(t, n.registry, loopback())
	o := discoveryapi.NewClient(other.addr, serviceToken)
	if _, err := o.Open(t.Context(), web("broken"), 0); err != nil {
		t.Fatal(err)
	}
	o.Close()
	await(t, n.registry, "the broken instance is failing", health("broken", mesh.Failing))
	if snap, err := n.registry.Snapshot(t.Context()); err != nil || !health("web-1", mesh.Passing)(snap) {
		t.Errorf("the instance is not passing after its node stopped (%v)", err)
	}
}

func TestSessionEndsWithItsReason(t *testing.T) {
	n := start(t)
	c := n.client(t, serviceToken)
	old, err := c.Open(t.Context(), web("web-1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Open(t.Context(), web("web-1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the end of the older session", func() { <-old.Done() })
	if !errors.Is(old.Err(), mesh.ErrStale) {
		t.Errorf("older session ended with %v, want stale", old.Err())
	}
	if err := old.Renew(t.Context()); !errors.Is(err, mesh.ErrStale) {
		t.Errorf("renewal in an ended session: %v, want stale", err)
	}
	if err := c.Deregister(t.Context(), mesh.Ref{ID: "web-1"}); err != nil {
		t.Fatal(err)
	}
	within(t, "the end of the session", func() { <-again.Done() })
	if !errors.Is(again.Err(), mesh.ErrNotFound) {
		t.Errorf("session of a deregistered instance ended with %v, want not found", again.Err())
	}
}

func TestSessionResumesItsIncarnation(t *testing.T) {
	n := start(t)
	c := n.client(t, serviceToken)
	s, err := c.Open(t.Context(), web("web-1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	s.Close(true)
	next, err := c.Open(t.Context(), web("web-1"), s.Instance().Incarnation)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close(false)
	if next.Instance().Incarnation != s.Instance().Incarnation {
		t.Errorf("resumed with incarnation %d, want %d", next.Instance().Incarnation, s.Instance().Incarnation)
	}
}

func TestOpenedSessionOutlivesTheContextThatOpenedIt(t *testing.T) {
	n := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := n.client(t, serviceToken).Open(ctx, web("web-1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := s.Renew(t.Context()); err != nil {
		t.Errorf("Renew: %v", err)
	}
	s.Close(false)
}
