package toska_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
)

func TestKeeperRegistersAndRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &discovery{}
		k, result := start(t, d, mesh.Registration{Service: "Web", Port: 9000})
		<-k.Registered()
		if inst, ok := k.Instance(); !ok || inst.ID != k.ID() || inst.Incarnation != 1 {
			t.Errorf("Instance = %+v, %v", inst, ok)
		}
		time.Sleep(65 * time.Second)
		if got := d.current().count("renew"); got != 6 {
			t.Errorf("renewed %d times in 65 s, want 6", got)
		}
		if err := k.Deregister(t.Context()); err != nil {
			t.Errorf("Deregister: %v", err)
		}
		if err := <-result; err != nil {
			t.Errorf("Run = %v, want nil after Deregister", err)
		}
		if len(d.removed) != 1 || d.removed[0] != (mesh.Ref{ID: k.ID(), Incarnation: 1}) {
			t.Errorf("deregistered %v, want the instance once", d.removed)
		}
		if got := d.current().closedAs; got != "kept" {
			t.Errorf("session was closed as %q, want kept", got)
		}
	})
}

func TestKeeperLeavesTheInstanceWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &discovery{}
		ctx, cancel := context.WithCancel(t.Context())
		k := toska.NewKeeper(d, mesh.Registration{Service: "web", ID: "web-1"}, slog.New(slog.DiscardHandler))
		result := make(chan error, 1)
		go func() { result <- k.Run(ctx) }()
		<-k.Registered()
		cancel()
		if err := <-result; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if len(d.removed) != 0 || d.current().closedAs != "kept" {
			t.Errorf("removed %v, session closed as %q; want the lease to run", d.removed, d.current().closedAs)
		}
		if err := k.Run(t.Context()); err == nil {
			t.Error("second Run = nil, want an error")
		}
	})
}

func TestKeeperResumesABrokenSessionAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &discovery{}
		k, _ := start(t, d, mesh.Registration{Service: "web"})
		<-k.Registered()
		for breaks := range 6 {
			time.Sleep(20 * time.Second)
			d.current().end(mesh.ErrUnavailable)
			synctest.Wait()
			if want := breaks + 2; d.opened() != want {
				t.Fatalf("opened %d times after %d breaks, want %d at once", d.opened(), breaks+1, want)
			}
		}
		if inst, _ := k.Instance(); inst.Incarnation != 1 {
			t.Errorf("incarnation = %d, want 1: the session goes on", inst.Incarnation)
		}
	})
}

func TestKeeperOpensAgainWhenARenewalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &discovery{}
		k, _ := start(t, d, mesh.Registration{Service: "web"})
		<-k.Registered()
		first := d.current()
		first.fail(mesh.ErrUnavailable)
		time.Sleep(mesh.RenewInterval + time.Second)
		if d.opened() != 2 || first.closedAs != "lost" {
			t.Errorf("opened %d times, first closed as %q; want 2 and lost", d.opened(), first.closedAs)
		}
	})
}

func TestKeeperKeepsTryingWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &discovery{}
		d.refuse(mesh.ErrUnavailable)
		k, _ := start(t, d, mesh.Registration{Service: "web"})
		time.Sleep(time.Minute)
		if n := d.attempts(); n < 12 || n > 40 {
			t.Errorf("%d attempts in a minute, want about 20", n)
		}
		d.refuse(nil)
		began := time.Now()
		<-k.Registered()
		if waited := time.Since(began); waited > 5*time.Second {
			t.Errorf("registered %v after the mesh came back, want within 5 s", waited)
		}
	})
}

func TestKeeperOutlivesALostRegistry(t *testing.T) {
	t.Run("N-19 it tries for a day, says so and registers again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var logged strings.Builder // read once the keeper sleeps
			d := &discovery{}
			k := toska.NewKeeper(d, mesh.Registration{Service: "web"}, slog.New(slog.NewTextHandler(&logged, nil)))
			ctx, cancel := context.WithCancel(t.Context())
			result := make(chan error, 1)
			go func() { result <- k.Run(ctx) }()
			<-k.Registered()
			d.refuse(mesh.ErrUnavailable)
			d.forget()
			d.current().end(mesh.ErrUnavailable)
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			if n := d.attempts(); n < 24*60*60/6 {
				t.Errorf("%d attempts in a day, want one every 5 s", n)
			}
			if n := strings.Count(logged.String(), "level=ERROR"); n < 24*60*9/10 || n > 24*60 {
				t.Errorf("%d lines of the log say so, want about one a minute", n)
			}
			d.refuse(nil)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if inst, _ := k.Instance(); inst.Incarnation != 2 {
				t.Errorf("incarnation = %d, want 2: registered anew within 5 s", inst.Incarnation)
			}
			if !strings.Contains(logged.String(), "the mesh answers again") {
				t.Error("the log does not say that it is over")
			}
			cancel()
			if err := <-result; err != nil {
				t.Errorf("Run = %v, want nil", err)
			}
		})
	})
}

func TestKeeperGivesUpOnACallThatNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &discovery{hang: true}
		start(t, d, mesh.Registration{Service: "web"})
		time.Sleep(12 * time.Second)
		if n := d.attempts(); n < 2 {
			t.Errorf("%d attempts in 12 s, want another after 5 s", n)
		}
	})
}

func TestKeeperRegistersAgainWhenItIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &discovery{}
		k, _ := start(t, d, mesh.Registration{Service: "web"})
		<-k.Registered()
		if err := k.Report(t.Context(), mesh.Report{Health: mesh.Degraded}); err != nil {
			t.Fatalf("Report: %v", err)
		}
		if err := k.Drain(t.Context()); err != nil {
			t.Fatalf("Drain: %v", err)
		}
		d.forget()
		d.current().end(mesh.ErrUnavailable)
		synctest.Wait()
		inst, _ := k.Instance()
		if inst.Incarnation != 2 {
			t.Fatalf("incarnation = %d, want 2", inst.Incarnation)
		}
		if got := d.current().count("report degraded"); got != 1 {
			t.Errorf("the new incarnation heard the verdict %d times, want once", got)
		}
		if len(d.drained) != 2 || d.drained[1] != (mesh.Ref{ID: k.ID(), Incarnation: 2}) {
			t.Errorf("drained %v, want the new incarnation too", d.drained)
		}
	})
}

func TestKeeperStopsWhenAnotherProgramTookTheID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &discovery{}
		k, result := start(t, d, mesh.Registration{Service: "web", ID: "web-1"})
		<-k.Registered()
		d.current().end(mesh.ErrStale)
		if err := <-result; !errors.Is(err, mesh.ErrStale) {
			t.Errorf("Run = %v, want ErrStale", err)
		}
		if d.opened() != 1 {
			t.Errorf("opened %d times, want no fight over the id", d.opened())
		}
	})
}

func TestKeeperEndsWhenTheInstanceWasDeregistered(t *testing.T) { // N-18
	for _, tc := range []struct {
		name string
		word func(*session)
	}{
		{"and the session says so", func(s *session) { s.end(mesh.ErrNotFound) }},
		{"and a renewal says so first", func(s *session) { s.fail(mesh.ErrNotFound) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &discovery{}
				k, result := start(t, d, mesh.Registration{Service: "web", ID: "web-1"})
				<-k.Registered()
				tc.word(d.current())
				time.Sleep(time.Minute)
				select {
				case err := <-result:
					if !errors.Is(err, mesh.ErrNotFound) || !strings.Contains(err.Error(), "web-1 was deregistered") {
						t.Errorf("Run = %v, want ErrNotFound and that web-1 was deregistered", err)
					}
				default:
					t.Error("Run goes on, want it to end")
				}
				if d.opened() != 1 {
					t.Errorf("opened %d times, want the instance left alone", d.opened())
				}
			})
		})
	}
}

func TestKeeperEndsWhenTheFirstRegistrationIsRefused(t *testing.T) {
	for _, kind := range []error{mesh.ErrInvalid, mesh.ErrTooLarge, mesh.ErrForbidden, mesh.ErrUnauthenticated} {
		t.Run(kind.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &discovery{}
				d.refuse(kind)
				_, result := start(t, d, mesh.Registration{Service: "web"})
				if err := <-result; !errors.Is(err, kind) {
					t.Errorf("Run = %v, want %v", err, kind)
				}
			})
		})
	}
}

func TestKeeperTakesALaterRefusalForAPassingCondition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &discovery{}
		k, result := start(t, d, mesh.Registration{Service: "web"})
		<-k.Registered()
		d.refuse(mesh.ErrUnauthenticated)
		d.current().end(mesh.ErrUnavailable)
		time.Sleep(time.Minute)
		d.refuse(nil)
		time.Sleep(5 * time.Second)
		select {
		case err := <-result:
			t.Errorf("Run = %v, want it to go on", err)
		default:
		}
		if d.opened() != 2 {
			t.Errorf("opened %d times, want 2", d.opened())
		}
	})
}

func TestKeeperRemembersWhatItCouldNotTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &discovery{}
		d.refuse(mesh.ErrUnavailable)
		k, _ := start(t, d, mesh.Registration{Service: "web"})
		synctest.Wait()
		if err := k.Drain(t.Context()); !errors.Is(err, mesh.ErrUnavailable) {
			t.Errorf("Drain = %v, want ErrUnavailable", err)
		}
		if err := k.Report(t.Context(), mesh.Report{Health: mesh.Failing}); !errors.Is(err, mesh.ErrUnavailable) {
			t.Errorf("Report = %v, want ErrUnavailable", err)
		}
		d.refuse(nil)
		<-k.Registered()
		synctest.Wait()
		if len(d.drained) != 1 || d.current().count("report failing") != 1 {
			t.Errorf("drained %v, heard %v; want both told", d.drained, d.current().calls)
		}
	})
}

func TestDeregisterOfAKeeperThatNeverGotThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &discovery{}
		d.refuse(mesh.ErrUnavailable)
		k, result := start(t, d, mesh.Registration{Service: "web"})
		time.Sleep(3 * time.Second)
		if err := k.Deregister(t.Context()); err != nil {
			t.Errorf("Deregister = %v, want nil", err)
		}
		if err := <-result; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		idle := toska.NewKeeper(d, mesh.Registration{Service: "web"}, slog.New(slog.DiscardHandler))
		if err := idle.Deregister(t.Context()); err != nil {
			t.Errorf("Deregister before Run = %v, want nil", err)
		}
		if err := idle.Run(t.Context()); err != nil {
			t.Errorf("Run after Deregister = %v, want nil", err)
		}
	})
}

func TestDeregisterIgnoresThatTheInstanceIsGone(t *testing.T) {
	for _, kind := range []error{mesh.ErrNotFound, mesh.ErrStale} {
		synctest.Test(t, func(t *testing.T) {
			d := &discovery{removeErr: kind}
			k, _ := start(t, d, mesh.Registration{Service: "web"})
			<-k.Registered()
			if err := k.Deregister(t.Context()); err != nil {
				t.Errorf("Deregister = %v, want nil for %v", err, kind)
			}
		})
	}
}

// start runs a Keeper until the test ends.
func start(t *testing.T, d *discovery, r mesh.Registration) (*toska.Keeper, <-chan error) {
	t.Helper()
	return startOn(t, d, r)
}

func startOn(t *testing.T, d toska.Discovery, r mesh.Registration) (*toska.Keeper, <-chan error) {
	t.Helper()
	k := toska.NewKeeper(d, r, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { result <- k.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return k, result
}

// discovery is a registry of one instance.
type discovery struct {
	mu          sync.Mutex // guards what follows
	err         error
	hang        bool
	tries       int
	incarnation uint64
	sessions    []*session
	drained     []mesh.Ref
	removed     []mesh.Ref
	removeErr   error
}

func (d *discovery) Open(ctx context.Context, r mesh.Registration, resume uint64) (mesh.Session, error) {
	if d.hang {
		d.count()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tries++
	if d.err != nil {
		return nil, d.err
	}
	if resume == 0 || resume != d.incarnation {
		d.incarnation = max(d.incarnation, resume) + 1
	}
	s := &session{done: make(chan struct{}), instance: mesh.Instance{ID: r.ID, Service: r.Service, Incarnation: d.incarnation}}
	d.sessions = append(d.sessions, s)
	return s, nil
}

func (d *discovery) Drain(_ context.Context, ref mesh.Ref) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drained = append(d.drained, ref)
	return nil
}

func (d *discovery) Deregister(_ context.Context, ref mesh.Ref) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.removed = append(d.removed, ref)
	return d.removeErr
}

func (d *discovery) refuse(err error) { d.mu.Lock(); defer d.mu.Unlock(); d.err = err }
func (d *discovery) forget()          { d.mu.Lock(); defer d.mu.Unlock(); d.incarnation = 0 }
func (d *discovery) count()           { d.mu.Lock(); defer d.mu.Unlock(); d.tries++ }
func (d *discovery) attempts() int    { d.mu.Lock(); defer d.mu.Unlock(); return d.tries }
func (d *discovery) opened() int      { d.mu.Lock(); defer d.mu.Unlock(); return len(d.sessions) }

func (d *discovery) current() *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sessions[len(d.sessions)-1]
}

type session struct {
	instance mesh.Instance
	done     chan struct{}

	mu       sync.Mutex // guards what follows
	err      error
	failure  error
	calls    []string
	closedAs string
}

func (s *session) Instance() mesh.Instance     { s.mu.Lock(); defer s.mu.Unlock(); return s.instance }
func (s *session) Done() <-chan struct{}       { return s.done }
func (s *session) Err() error                  { s.mu.Lock(); defer s.mu.Unlock(); return s.err }
func (s *session) Renew(context.Context) error { return s.note("renew") }
func (s *session) fail(err error)              { s.mu.Lock(); defer s.mu.Unlock(); s.failure = err }
func (s *session) Report(_ context.Context, r mesh.Report) error {
	return s.note("report " + r.Health.String())
}

func (s *session) note(call string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
	return s.failure
}

func (s *session) count(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.calls {
		if c == call {
			n++
		}
	}
	return n
}

func (s *session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	close(s.done)
}

func (s *session) Close(lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closedAs == "" {
		s.closedAs = map[bool]string{true: "lost", false: "kept"}[lost]
	}
}

func TestDeregisterWaitsForARegistrationThatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slowly{takes: 100 * time.Millisecond}
		k := toska.NewKeeper(d, mesh.Registration{Service: "web", ID: "web-1"}, slog.New(slog.DiscardHandler))
		result := make(chan error, 1)
		go func() { result <- k.Run(t.Context()) }()
		time.Sleep(50 * time.Millisecond)
		if err := k.Deregister(t.Context()); err != nil {
			t.Errorf("Deregister: %v", err)
		}
		if err := <-result; err != nil || len(d.removed) != 1 {
			t.Errorf("Run = %v and removed %v, want what was registered meanwhile", err, d.removed)
		}
	})
}

// slowly takes its time to register.
type slowly struct {
	discovery
	takes time.Duration
}

func (s *slowly) Open(ctx context.Context, r mesh.Registration, resume uint64) (mesh.Session, error) {
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.discovery.Open(ctx, r, resume)
}
