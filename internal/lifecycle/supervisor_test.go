package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/toska-mesh/toska-mesh/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// story records what units do, in order.
type story struct {
	mu    sync.Mutex
	lines []string
}

func (s *story) tell(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
}

func (s *story) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

// steady returns a unit that is ready after a while, runs until it is told to stop, and tells of both.
func (s *story) steady(name string, after time.Duration, needs, wants []string) lifecycle.Unit {
	return lifecycle.Unit{Name: name, Needs: needs, Wants: wants,
		Run: func(ctx context.Context, ready func()) error {
			s.tell("start " + name)
			select {
			case <-time.After(after):
				ready()
				<-ctx.Done()
			case <-ctx.Done():
			}
			s.tell("stop " + name)
			return ctx.Err()
		}}
}

// failing returns a unit whose nth run does what runs[n] says; later runs are steady.
func failing(name string, runs ...func(ready func()) error) lifecycle.Unit {
	n := 0
	return lifecycle.Unit{Name: name, Run: func(ctx context.Context, ready func()) error {
		n++
		if n <= len(runs) {
			return runs[n-1](ready)
		}
		ready()
		<-ctx.Done()
		return nil
	}}
}

// running is a supervisor under way in a synctest bubble.
type running struct {
	*lifecycle.Supervisor
	cancel context.CancelFunc
	ready  atomic.Bool
	ended  atomic.Bool
	err    error // readable once ended
}

func run(t *testing.T, units ...lifecycle.Unit) *running {
	t.Helper()
	s, err := lifecycle.NewSupervisor(quiet(), units...)
	if err != nil {
		t.Fatalf("NewSupervisor: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{Supervisor: s, cancel: cancel}
	go func() {
		r.err = s.Run(ctx, func() { r.ready.Store(true) })
		r.ended.Store(true)
	}()
	t.Cleanup(cancel)
	synctest.Wait()
	return r
}

func (r *running) stop() {
	r.cancel()
	synctest.Wait()
}

func (r *running) status(name string) lifecycle.UnitStatus {
	for _, u := range r.Status() {
		if u.Name == name {
			return u
		}
	}
	return lifecycle.UnitStatus{}
}

func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestNewSupervisorRefuses(t *testing.T) {
	nop := func(context.Context, func()) error { return nil }
	for _, tt := range []struct {
		name  string
		units []lifecycle.Unit
		want  string
	}{
		{"a unit without a name", []lifecycle.Unit{{Run: nop}}, "a unit has no name"},
		{"a unit without Run", []lifecycle.Unit{{Name: "a"}}, "unit a has nothing to run"},
		{"the same name twice", []lifecycle.Unit{{Name: "a", Run: nop}, {Name: "a", Run: nop}}, "unit a is declared twice"},
		{"a need that is not there", []lifecycle.Unit{{Name: "gateway", Needs: []string{"store"}, Run: nop}},
			"unit gateway needs store, which is not there"},
		{"a unit that needs itself", []lifecycle.Unit{{Name: "a", Needs: []string{"a"}, Run: nop}}, "a → a"},
		{"a circle of needs and wants", []lifecycle.Unit{
			{Name: "x", Needs: []string{"a"}, Run: nop},
			{Name: "a", Needs: []string{"b"}, Run: nop},
			{Name: "b", Wants: []string{"c"}, Run: nop},
			{Name: "c", Needs: []string{"a"}, Run: nop},
		}, "a → b → c → a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := lifecycle.NewSupervisor(quiet(), tt.units...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("NewSupervisor = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestUnitsStartInOrderAndStopInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s story
		r := run(t,
			s.steady("gateway", time.Second, []string{"files"}, []string{"discovery", "nobody knows this"}),
			s.steady("discovery", time.Second, []string{"store"}, nil),
			s.steady("files", 0, nil, nil),
			s.steady("store", time.Second, nil, []string{"files"}),
		)
		after(2500 * time.Millisecond)
		if r.ready.Load() {
			t.Error("ready was called before the last unit was ready")
		}
		after(time.Second)
		if !r.ready.Load() {
			t.Error("ready was not called when all units were ready")
		}
		r.stop()
		want := []string{
			"start files", "start store", "start discovery", "start gateway",
			"stop gateway", "stop discovery", "stop store", "stop files",
		}
		if diff := cmp.Diff(want, s.told()); diff != "" {
			t.Errorf("story (-want +got):\n%s", diff)
		}
		if !r.ended.Load() || r.err != nil {
			t.Errorf("Run ended %t with %v, want an orderly end", r.ended.Load(), r.err)
		}
		for _, u := range r.Status() {
			if u.State != lifecycle.Stopped {
				t.Errorf("%s is %s, want stopped", u.Name, u.State)
			}
		}
	})
}

func TestAUnitIsWaitedForBeforeWhatItNeedsIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s story
		slow := lifecycle.Unit{Name: "gateway", Needs: []string{"store"},
			Run: func(ctx context.Context, ready func()) error {
				ready()
				<-ctx.Done()
				time.Sleep(time.Minute) // draining
				s.tell("gateway drained")
				return nil
			}}
		r := run(t, s.steady("store", 0, nil, nil), slow)
		r.stop()
		if got := r.status("gateway").State; got != lifecycle.Stopping {
			t.Errorf("gateway is %s while it drains, want stopping", got)
		}
		if got := r.status("store").State; got != lifecycle.Ready {
			t.Errorf("store is %s while the gateway drains, want ready", got)
		}
		after(time.Minute)
		if diff := cmp.Diff([]string{"start store", "gateway drained", "stop store"}, s.told()); diff != "" {
			t.Errorf("story (-want +got):\n%s", diff)
		}
	})
}

func TestAWantIsWaitedForOnlyAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s story
		r := run(t,
			s.steady("discovery", time.Hour, nil, nil),
			s.steady("gateway", 0, nil, []string{"discovery"}),
		)
		after(lifecycle.DefaultWantWait - time.Millisecond)
		if got := s.told(); slices.Contains(got, "start gateway") {
			t.Errorf("gateway started at once, before discovery had its chance: %q", got)
		}
		after(time.Millisecond)
		if got := r.status("gateway").State; got != lifecycle.Ready {
			t.Errorf("gateway is %s after the bound, want ready", got)
		}
		if r.ready.Load() {
			t.Error("ready was called while discovery still starts")
		}
		r.stop()
		if r.err != nil {
			t.Errorf("Run = %v after a stop during the start, want nil", r.err)
		}
	})
}

func TestAStopDuringTheStartStartsNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s story
		r := run(t,
			s.steady("store", time.Hour, nil, nil),
			s.steady("discovery", 0, []string{"store"}, nil),
		)
		r.stop()
		if diff := cmp.Diff([]string{"start store", "stop store"}, s.told()); diff != "" {
			t.Errorf("story (-want +got):\n%s", diff)
		}
		if !r.ended.Load() || r.err != nil || r.ready.Load() {
			t.Errorf("ended %t, err %v, ready %t; want an orderly end without ready", r.ended.Load(), r.err, r.ready.Load())
		}
	})
}

var errDisk = errors.New("disk on fire")

func TestAFailureBeforeReadyEndsTheStart(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(ready func()) error
		want string
	}{
		{"with an error", func(func()) error { return errDisk }, "store: disk on fire"},
		{"with a panic", func(func()) error { panic("no pages left") }, "store: panic: no pages left"},
		{"with a panic that is an error", func(func()) error { panic(errDisk) }, "store: panic: disk on fire"},
		{"by returning", func(func()) error { return nil }, "store: ended before it was ready"},
		{"permanently, though it was ready", func(ready func()) error {
			ready()
			return fmt.Errorf("engine: %w", lifecycle.ErrPermanent)
		}, "store: engine: cannot be restarted in this process"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s story
				r := run(t,
					s.steady("first", 0, nil, nil),
					s.steady("slow", time.Hour, []string{"first"}, nil),
					failing("store", tt.run),
					s.steady("last", 0, []string{"slow"}, nil),
				)
				if !r.ended.Load() || r.err == nil || r.err.Error() != tt.want {
					t.Errorf("ended %t with %v, want %q", r.ended.Load(), r.err, tt.want)
				}
				want := []string{"start first", "start slow", "stop slow", "stop first"}
				if diff := cmp.Diff(want, s.told()); diff != "" {
					t.Errorf("story (-want +got):\n%s", diff)
				}
				if got := r.status("store"); got.State != lifecycle.Failed || got.Reason == "" {
					t.Errorf("store is %+v, want failed with a reason", got)
				}
				if r.ready.Load() {
					t.Error("ready was called")
				}
			})
		})
	}
}

func TestALaterFailureRestartsTheUnitAlone(t *testing.T) {
	soon := func(ready func()) { ready(); time.Sleep(time.Second) }
	for _, tt := range []struct {
		name   string
		run    func(ready func()) error
		reason string
	}{
		{"an error", func(ready func()) error { soon(ready); return errDisk }, "disk on fire"},
		{"a panic", func(ready func()) error { soon(ready); panic("nil map") }, "panic: nil map"},
		{"a return", func(ready func()) error { soon(ready); return nil }, "ended without being asked to"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s story
				r := run(t, failing("discovery", tt.run), s.steady("gateway", 0, []string{"discovery"}, nil))
				if !r.ready.Load() {
					t.Error("ready was not called")
				}
				after(time.Second)
				got := r.status("discovery")
				if got.State != lifecycle.Restarting || got.Reason != tt.reason {
					t.Errorf("discovery is %+v, want restarting with reason %q", got, tt.reason)
				}
				after(400 * time.Millisecond)
				got = r.status("discovery")
				if got.State != lifecycle.Ready || got.Restarts != 1 || got.Reason != tt.reason {
					t.Errorf("discovery is %+v, want ready after one restart, its reason kept", got)
				}
				if diff := cmp.Diff([]string{"start gateway"}, s.told()); diff != "" {
					t.Errorf("the gateway did not simply go on (-want +got):\n%s", diff)
				}
				r.stop()
				if r.err != nil {
					t.Errorf("Run = %v, want nil", r.err)
				}
			})
		})
	}
}

func TestRestartsBackOffAndForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := make(chan time.Time, 1000)
		var stable atomic.Bool
		r := run(t, lifecycle.Unit{Name: "store", Run: func(_ context.Context, ready func()) error {
			starts <- time.Now()
			ready()
			if stable.CompareAndSwap(true, false) {
				time.Sleep(time.Hour)
			}
			return errDisk
		}})
		after(10 * time.Minute)
		begun, want := <-starts, 250*time.Millisecond
		for len(starts) > 0 {
			next := <-starts
			if pause := next.Sub(begun); pause < want || pause > want+want/4 {
				t.Fatalf("pause = %v, want %v and up to a quarter more", pause, want)
			}
			begun, want = next, min(2*want, 12*time.Second)
		}
		if got := r.status("store").Restarts; got < 40 || got > 56 {
			t.Errorf("Restarts = %d in 10 minutes, want about 48", got)
		}
		stable.Store(true)
		begun = <-starts
		if pause := (<-starts).Sub(begun) - time.Hour; pause < 0 || pause > 313*time.Millisecond {
			t.Errorf("pause after an hour of being ready = %v, want the shortest again", pause)
		}
		r.stop()
	})
}

func TestAPermanentFailureIsNotRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s story
		r := run(t,
			failing("store", func(ready func()) error {
				ready()
				time.Sleep(time.Second)
				return fmt.Errorf("%w: %w", lifecycle.ErrPermanent, errDisk)
			}),
			s.steady("gateway", 0, nil, []string{"store"}),
		)
		after(time.Hour)
		got := r.status("store")
		if got.State != lifecycle.Failed || got.Restarts != 0 || !strings.Contains(got.Reason, "disk on fire") {
			t.Errorf("store is %+v, want failed, never restarted, with its reason", got)
		}
		if got := r.status("gateway").State; got != lifecycle.Ready {
			t.Errorf("gateway is %s, want ready", got)
		}
		r.stop()
		if r.err != nil {
			t.Errorf("Run = %v, want nil", r.err)
		}
		if got := r.status("store").State; got != lifecycle.Failed {
			t.Errorf("store is %s after the stop, want still failed", got)
		}
	})
}

func TestAUnitThatNeedsOneUnderRestartWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s story
		r := run(t,
			failing("store", func(ready func()) error { ready(); return errDisk }),
			s.steady("slow", 100*time.Millisecond, nil, nil),
			s.steady("discovery", 0, []string{"slow", "store"}, nil),
		)
		after(150 * time.Millisecond)
		if got := s.told(); slices.Contains(got, "start discovery") {
			t.Errorf("discovery started while store restarts: %q", got)
		}
		after(time.Second)
		if !r.ready.Load() {
			t.Errorf("not ready: %+v", r.Status())
		}
		r.stop()
	})
}

func TestWhatGoesWrongWhileStoppingIsReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := func(name string, end func() error) lifecycle.Unit {
			return lifecycle.Unit{Name: name, Run: func(ctx context.Context, ready func()) error {
				ready()
				<-ctx.Done()
				return end()
			}}
		}
		r := run(t,
			bad("store", func() error { return errDisk }),
			bad("discovery", func() error { panic("twice closed") }),
			bad("gateway", func() error { return context.Canceled }),
		)
		r.stop()
		want := "stop discovery: panic: twice closed\nstop store: disk on fire"
		if r.err == nil || r.err.Error() != want {
			t.Errorf("Run = %v, want %q", r.err, want)
		}
		if !errors.Is(r.err, errDisk) {
			t.Errorf("Run's error does not match what the unit returned")
		}
	})
}

func TestAStopDuringTheBackOffDoesNotWaitForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, failing("store", func(ready func()) error { ready(); time.Sleep(time.Microsecond); return errDisk }))
		after(time.Millisecond)
		begun := time.Now()
		r.stop()
		if took := time.Since(begun); took != 0 || !r.ended.Load() {
			t.Errorf("ended %t after %v, want at once", r.ended.Load(), took)
		}
	})
}

func TestReadyAfterTheRunItBelongsToIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var old func()
		r := run(t, failing("store",
			func(ready func()) error { ready(); return errDisk },
			func(ready func()) error { old = ready; return errDisk },
			func(func()) error { old(); time.Sleep(time.Second); return errDisk },
		))
		after(1500 * time.Millisecond)
		if got := r.status("store"); got.State != lifecycle.Restarting || got.Restarts != 2 {
			t.Errorf("store is %+v, want restarting: the old run's word does not count", got)
		}
		r.stop()
		after(time.Second)
	})
}

func TestASupervisorRunsOnce(t *testing.T) {
	s, err := lifecycle.NewSupervisor(quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready := false
	cancelled := func() { ready = true; cancel() }
	if err := s.Run(ctx, cancelled); err != nil || !ready {
		t.Errorf("Run = %v, ready %t; want nil, true", err, ready)
	}
	if err := s.Run(ctx, cancelled); err == nil {
		t.Error("the second Run returned no error")
	}
}

func TestStopOrderIsTheReverseOfStart(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 8).Draw(rt, "units")
		perm := rapid.Permutation(indexes(n)).Draw(rt, "declared")
		var s story
		units := make([]lifecycle.Unit, n)
		edges := map[[2]string]bool{}
		for i := range n {
			var deps [2][]string
			for j := range i {
				if k := rapid.IntRange(0, 3).Draw(rt, "edge"); k < 2 {
					deps[k] = append(deps[k], fmt.Sprint("u", j))
					edges[[2]string{fmt.Sprint("u", j), fmt.Sprint("u", i)}] = true
				}
			}
			units[perm[i]] = s.steady(fmt.Sprint("u", i), time.Millisecond, deps[0], deps[1])
		}
		synctest.Test(t, func(t *testing.T) {
			r := run(t, units...)
			after(time.Minute)
			order := r.Status()
			r.stop()
			var started, stopped []string
			for _, line := range s.told() {
				if name, ok := strings.CutPrefix(line, "stop "); ok {
					stopped = append(stopped, name)
				}
			}
			for _, u := range order {
				started = append(started, u.Name)
			}
			slices.Reverse(stopped)
			if !slices.Equal(started, stopped) {
				rt.Fatalf("started %v, stopped in reverse %v", started, stopped)
			}
			for e := range edges {
				if slices.Index(started, e[0]) > slices.Index(started, e[1]) {
					rt.Fatalf("%s started before %s, which it depends on: %v", e[1], e[0], started)
				}
			}
		})
	})
}

func indexes(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
