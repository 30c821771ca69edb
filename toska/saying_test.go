package toska_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
)

func TestAWordThatWasNotHeardIsSaidAgainWhileTheSessionLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &discovery{}
		k, _ := start(t, d, mesh.Registration{Service: "web"})
		<-k.Registered()
		s := d.current()
		time.Sleep(time.Second)
		synctest.Wait()
		s.fail(mesh.ErrUnavailable)
		if err := k.Report(t.Context(), mesh.Report{Health: mesh.Failing}); !errors.Is(err, mesh.ErrUnavailable) {
			t.Errorf("Report = %v, want what the first attempt came to", err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := s.count("report failing"); n < 4 || n > 10 {
			t.Errorf("said %d times in 5 s, want it again with growing pauses", n)
		}
		s.fail(nil)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		said := s.count("report failing")
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := s.count("report failing"); n != said {
			t.Errorf("said %d times after it was heard, want no more", n-said)
		}
		if d.opened() != 1 {
			t.Errorf("opened %d sessions, want the one", d.opened())
		}
	})
}

// mute answers reports when it is told to.
type mute struct {
	discovery
	answer chan error
	mu     sync.Mutex // guards what follows
	heard  []string
}

func (m *mute) Open(ctx context.Context, r mesh.Registration, resume uint64) (mesh.Session, error) {
	s, err := m.discovery.Open(ctx, r, resume)
	if err != nil {
		return nil, err
	}
	return &muteSession{s, m}, nil
}

type muteSession struct {
	mesh.Session
	m *mute
}

func (s *muteSession) Report(ctx context.Context, rep mesh.Report) error {
	select {
	case err := <-s.m.answer:
		s.m.mu.Lock()
		defer s.m.mu.Unlock()
		s.m.heard = append(s.m.heard, rep.Output)
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestNoOlderWordComesAfterANewerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mute{answer: make(chan error)}
		k := toska.NewKeeper(m, mesh.Registration{Service: "web"}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = k.Run(ctx) })
		<-k.Registered()
		results := make([]error, 3)
		for i, output := range []string{"one", "two", "three"} {
			wg.Go(func() { results[i] = k.Report(ctx, mesh.Report{Output: output}) })
			synctest.Wait()
		}
		m.answer <- nil
		m.answer <- nil
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := strings.Join(m.heard, " "); got != "one three" {
			t.Errorf("the mesh heard %q, want the newest after the one under way", got)
		}
		if err := errors.Join(results...); err != nil {
			t.Errorf("Report = %v", err)
		}
		cancel()
		wg.Wait()
	})
}

func TestADrainThatWasNotHeardIsSaidAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &undrained{}
		d.fails.Store(2)
		k := toska.NewKeeper(d, mesh.Registration{Service: "web"}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		<-k.Registered()
		if err := k.Drain(t.Context()); !errors.Is(err, mesh.ErrUnavailable) {
			t.Errorf("Drain = %v, want ErrUnavailable", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(d.drained) != 1 {
			t.Errorf("drained %v, want once", d.drained)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

// undrained refuses to drain, at first.
type undrained struct {
	discovery
	fails atomic.Int32
}

func (u *undrained) Drain(ctx context.Context, ref mesh.Ref) error {
	if u.fails.Add(-1) >= 0 {
		return mesh.ErrUnavailable
	}
	return u.discovery.Drain(ctx, ref)
}

func TestWhatTheMeshSaysOfADrainGoesOnAfterALapse(t *testing.T) {
	for name, told := range map[string]func(*drainedByOther){
		"told when it is resumed": func(d *drainedByOther) {
			d.draining = true
			d.current().end(mesh.ErrUnavailable)
		},
		"told when it is renewed": func(d *drainedByOther) {
			s := d.current()
			s.mu.Lock()
			defer s.mu.Unlock()
			s.instance.Draining = true
		},
	} {
		t.Run(name, func(t *testing.T) { drainGoesOn(t, told) })
	}
}

func drainGoesOn(t *testing.T, told func(*drainedByOther)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &drainedByOther{}
		k := toska.NewKeeper(d, mesh.Registration{Service: "web"}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		<-k.Registered()
		told(d)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if len(d.drained) != 0 {
			t.Errorf("drained %v, want nothing done where it drains already", d.drained)
		}
		d.draining = false
		d.forget()
		d.current().end(mesh.ErrUnavailable) // it is registered anew
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if len(d.drained) != 1 || d.drained[0].Incarnation != 2 {
			t.Errorf("drained %v, want the new incarnation", d.drained)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

// drainedByOther says that its instance drains.
type drainedByOther struct {
	discovery
	draining bool
}

func (d *drainedByOther) Open(ctx context.Context, r mesh.Registration, resume uint64) (mesh.Session, error) {
	s, err := d.discovery.Open(ctx, r, resume)
	if err == nil {
		s.(*session).instance.Draining = d.draining
	}
	return s, err
}

func TestARunIsOneOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var owners []string
		for range 2 {
			d := &ownedBy{}
			k, _ := startOn(t, d, mesh.Registration{Service: "web", ID: "web-1"})
			<-k.Registered()
			d.current().end(mesh.ErrUnavailable)
			time.Sleep(time.Second)
			synctest.Wait()
			if len(d.owners) != 2 || d.owners[0] != d.owners[1] || d.owners[0] == "" {
				t.Errorf("registered for %q, want one owner", d.owners)
			}
			owners = append(owners, d.owners[0])
		}
		if owners[0] == owners[1] {
			t.Error("two runs are one owner")
		}
	})
}

// ownedBy notes who registers.
type ownedBy struct {
	discovery
	owners []string
}

func (o *ownedBy) Open(ctx context.Context, r mesh.Registration, resume uint64) (mesh.Session, error) {
	o.owners = append(o.owners, r.Owner)
	return o.discovery.Open(ctx, r, resume)
}

func TestAKeeperEndsWhenItMayNotResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &discovery{}
		k, result := start(t, d, mesh.Registration{Service: "web", ID: "web-1"})
		<-k.Registered()
		d.refuse(mesh.ErrStale)
		d.current().end(mesh.ErrUnavailable)
		time.Sleep(time.Minute)
		synctest.Wait()
		select {
		case err := <-result:
			if !errors.Is(err, mesh.ErrStale) || !strings.Contains(err.Error(), "another program has taken the id") {
				t.Errorf("Run = %v, want ErrStale", err)
			}
		default:
			t.Error("Run goes on, want it to leave the id to the other")
		}
	})
}

func TestAnInstanceWhoseSessionIsBrokenIsDrainedAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &discovery{}
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() {
			result <- toska.JoinListener(ctx, "orders", deaf{}, toska.WithListener(&silent{closed: make(chan struct{})}),
				toska.WithLogger(nil), toska.WithDiscovery(full{of: d}), toska.WithDrainDelay(7*time.Second))
		}()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		d.refuse(mesh.ErrUnavailable) // sessions alone
		d.current().end(mesh.ErrUnavailable)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-result; err != nil {
			t.Errorf("JoinListener = %v", err)
		}
		if took := time.Since(began); took < 7*time.Second {
			t.Errorf("it left within %v, want the delay of 7 s first", took)
		}
		if len(d.drained) != 1 || d.drained[0].Incarnation != 1 || len(d.removed) != 1 {
			t.Errorf("drained %v and deregistered %v, want each once", d.drained, d.removed)
		}
	})
}
