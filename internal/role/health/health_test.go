package health_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/role/health"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// bench is a registry with the role over it, in a bubble.
type bench struct {
	t        *testing.T
	registry *registry.Registry
	role     *health.Health
	prober   *prober
	judge    *judge
	stop     func() // of the role alone
}

// judge is fake: it counts, and refuses while it is told to, before the registry judges.
type judge struct {
	*registry.Registry
	mu    sync.Mutex
	err   error // guarded by mu
	takes time.Duration
	words []string // guarded by mu
}

func (j *judge) Judge(ctx context.Context, ref mesh.Ref, rep mesh.Report) error {
	j.mu.Lock()
	err := j.err
	j.words = append(j.words, fmt.Sprintf("%s %v", ref.ID, rep.Health))
	j.mu.Unlock()
	if err != nil {
		time.Sleep(j.takes)
		return err
	}
	return j.Registry.Judge(ctx, ref, rep)
}

func (j *judge) refuse(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.err = err
}

func (j *judge) said() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := j.words
	j.words = nil
	return out
}

func start(t *testing.T, change ...func(*health.Config)) *bench {
	t.Helper()
	store := memory.NewStore()
	r, err := registry.New(registry.Config{NodeID: "n1"}, store)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, registry: r, prober: newProber(), judge: &judge{Registry: r}}
	cfg := health.DefaultConfig()
	cfg.NodeID = "n1"
	for _, f := range change {
		f(&cfg)
	}
	b.role, err = health.New(cfg, health.Ports{Discovery: r, Judge: b.judge, Prober: b.prober, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx, func() {}) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	b.run()
	return b
}

// run runs the role until the test ends or stop is called.
func (b *bench) run() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done, ready := make(chan error, 1), make(chan struct{})
	var once sync.Once
	go func() { done <- b.role.Run(ctx, func() { once.Do(func() { close(ready) }) }) }()
	<-ready
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("Run = %v", err)
		}
	})
	b.t.Cleanup(func() { b.stop() })
}

func (b *bench) ctx() context.Context {
	return identity.NewContext(context.Background(), identity.Caller{Role: identity.Admin})
}

func (b *bench) register(r mesh.Registration) mesh.Instance {
	b.t.Helper()
	r.Lifetime = mesh.Permanent
	i, err := b.registry.Register(b.ctx(), r)
	if err != nil {
		b.t.Fatal(err)
	}
	return i
}

func (b *bench) probes(service string) []mesh.ProbeStatus {
	b.t.Helper()
	list, err := b.role.Probes(b.ctx(), service)
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

// health is the registry's verdict on an instance, and whose it is.
func (b *bench) health(id string) string {
	b.t.Helper()
	i, err := b.registry.Instance(b.ctx(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return fmt.Sprintf("%v by %s: %s", i.Health, i.HealthBy, i.HealthOutput)
}

func checked(id, address string) mesh.Registration {
	return mesh.Registration{Service: "Web", ID: id, Address: address, Port: 80, Check: &mesh.Check{HTTP: "/health"}}
}

func TestAVerdictIsHandedOnWhenItChangesAndOnlyThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		b.register(checked("a", "10.0.0.1"))
		b.register(checked("b", "10.0.0.2"))
		time.Sleep(time.Minute)
		before, err := b.registry.Snapshot(b.ctx())
		if err != nil {
			t.Fatal(err)
		}
		b.prober.answer(false, "500 Internal Server Error")
		time.Sleep(time.Minute)
		if got := b.health("a"); got != "failing by probe: 500 Internal Server Error" {
			t.Errorf("a is %s", got)
		}
		if got := b.health("b"); got != "passing by : " {
			t.Errorf("b is %s", got)
		}
		b.prober.answer(true, "200 OK")
		time.Sleep(time.Minute)
		if got := b.health("a"); got != "passing by probe: 200 OK" {
			t.Errorf("a is %s", got)
		}
		after, err := b.registry.Snapshot(b.ctx())
		if err != nil {
			t.Fatal(err)
		}
		if n := after.Revision.Number - before.Revision.Number; n != 2 {
			t.Errorf("%d writes for two changed verdicts", n)
		}
		if s := b.role.Stats(); s.Targets != 2 || s.Failing != 0 || s.Counts.HTTPFailed < 5 || s.Counts.HTTPPassed < 15 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestAnInstanceThatBeganFailingServesAfterItsFirstSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		r := checked("a", "10.0.0.1")
		r.InitiallyFailing = true
		b.register(r)
		time.Sleep(10*time.Second + time.Millisecond*600)
		if got := b.health("a"); got != "passing by probe: fine" {
			t.Errorf("after its first interval a is %s", got)
		}
	})
}

func TestAWordThatTheRegistryDoesNotTakeWaitsAndTheNewestWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		b.register(checked("a", "10.0.0.1"))
		time.Sleep(15 * time.Second)
		b.judge.refuse(&mesh.Error{Kind: mesh.ErrUnavailable, Detail: "the store is away"})
		b.prober.answer(false, "down")
		time.Sleep(time.Minute)
		if got := b.health("a"); got != "passing by : " {
			t.Errorf("a is %s while nothing can be said", got)
		}
		b.judge.refuse(nil)
		time.Sleep(15 * time.Second)
		if got := b.health("a"); got != "failing by probe: down" {
			t.Errorf("a is %s", got)
		}
		b.judge.refuse(&mesh.Error{Kind: mesh.ErrUnavailable, Detail: "the store is away"})
		b.prober.answer(true, "up")
		time.Sleep(time.Minute)
		b.prober.answer(false, "down again")
		time.Sleep(time.Minute)
		b.judge.refuse(nil)
		b.judge.said()
		time.Sleep(15 * time.Second)
		if diff := cmp.Diff([]string{"a failing"}, b.judge.said()); diff != "" {
			t.Errorf("words when the store is back (-want +got):\n%s", diff)
		}
	})
}

func TestAWordThatFailsOnItsWayDoesNotReplaceANewerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		b.judge.takes = time.Second
		r := checked("a", "10.0.0.1")
		r.Check.Up, r.Check.Down, r.Check.Interval = 1, 1, time.Hour
		b.register(r)
		b.judge.refuse(mesh.ErrUnavailable)
		for _, ok := range []bool{false, true} {
			b.prober.answer(ok, "asked")
			if _, err := b.role.ProbeNow(b.ctx(), "a"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // the first word is on its way
		}
		b.judge.refuse(nil)
		time.Sleep(time.Minute)
		if diff := cmp.Diff([]string{"a failing", "a passing"}, b.judge.said()); diff != "" {
			t.Errorf("words (-want +got):\n%s", diff)
		}
	})
}

// behind is fake: a registry whose watch stays behind after its first snapshot.
type behind struct{ *registry.Registry }

func (d behind) Watch(ctx context.Context, since mesh.Revision) iter.Seq2[*mesh.Snapshot, error] {
	return func(yield func(*mesh.Snapshot, error) bool) {
		for s, err := range d.Registry.Watch(ctx, since) {
			if !yield(s, err) {
				return
			}
			<-ctx.Done()
		}
	}
}

func TestWhoHasJustRegisteredAnInstanceMayHaveItProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		b.stop()
		cfg := health.DefaultConfig()
		cfg.NodeID = "n1"
		var err error
		b.role, err = health.New(cfg, health.Ports{Discovery: behind{b.registry}, Judge: b.judge, Prober: b.prober, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		b.run()
		b.register(checked("a", "10.0.0.1"))
		if st, err := b.role.ProbeNow(b.ctx(), "a"); err != nil || !st.OK {
			t.Errorf("ProbeNow = %+v, %v", st, err)
		}
	})
}

func TestANewIncarnationStartsAnewAndAnotherNodesInstancesAreNotProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		b.register(checked("a", "10.0.0.1"))
		b.prober.answer(false, "down")
		time.Sleep(time.Minute)
		again := b.register(checked("a", "10.0.0.1"))
		synctest.Wait()
		list := b.probes("wEB")
		if len(list) != 1 || list[0].Incarnation != again.Incarnation || list[0].InARow != 0 || list[0].Health != mesh.Passing {
			t.Errorf("probes %+v, want one that begins", list)
		}
		if got := b.health("a"); got != "passing by : " {
			t.Errorf("a is %s", got)
		}
		if list := b.probes("other"); len(list) != 0 {
			t.Errorf("probes of another service: %+v", list)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := start(t, func(c *health.Config) { c.NodeID = "n2" })
		b.register(checked("a", "10.0.0.1"))
		synctest.Wait()
		if list := b.probes(""); len(list) != 0 {
			t.Errorf("the node probes what another one hears: %+v", list)
		}
		if _, err := b.role.ProbeNow(b.ctx(), "a"); !errors.Is(err, mesh.ErrInvalid) {
			t.Errorf("ProbeNow = %v, want ErrInvalid", err)
		}
	})
}

func TestADrainingInstanceIsProbedAndOneThatIsGoneIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		i := b.register(checked("a", "10.0.0.1"))
		if err := b.registry.Drain(b.ctx(), mesh.Ref{ID: "a"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if list := b.probes(""); len(list) != 1 || list[0].Incarnation != i.Incarnation {
			t.Errorf("probes while it drains: %+v", list)
		}
		if err := b.registry.Deregister(b.ctx(), mesh.Ref{ID: "a"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if list := b.probes(""); len(list) != 0 {
			t.Errorf("probes when it is gone: %+v", list)
		}
	})
}

func TestARestartOfTheRoleKeepsTheWordOfBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		b.register(checked("a", "10.0.0.1"))
		b.prober.answer(false, "down")
		time.Sleep(time.Minute)
		b.stop()
		if _, err := b.role.Probes(b.ctx(), ""); !errors.Is(err, mesh.ErrUnavailable) {
			t.Errorf("Probes while the role does not run = %v", err)
		}
		b.prober.answer(true, "up")
		b.run()
		if st, err := b.role.ProbeNow(b.ctx(), "a"); err != nil || !st.OK || st.Health != mesh.Failing {
			t.Errorf("the first success: %+v, %v, want failing until the second", st, err)
		}
		time.Sleep(30 * time.Second)
		if got := b.health("a"); got != "passing by probe: up" {
			t.Errorf("a is %s", got)
		}
	})
}

func TestAnInstanceThatIsNotProbedAnyMoreIsNotKeptOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		r := checked("a", "10.0.0.1")
		r.Check = nil
		b.register(r)
		b.role.Configure(map[string]mesh.Check{"web": {}})
		b.prober.answer(false, "down")
		time.Sleep(time.Minute)
		if got := b.health("a"); got != "failing by probe: down" {
			t.Errorf("a is %s", got)
		}
		b.role.Configure(nil)
		time.Sleep(time.Second)
		if got := b.health("a"); got != "passing by probe: is not probed any more" {
			t.Errorf("a is %s", got)
		}
	})
}

func TestAWordThatTheRegistryLostIsSaidAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		b.register(checked("a", "10.0.0.1"))
		b.prober.answer(false, "down")
		time.Sleep(time.Minute)
		if err := b.registry.Judge(b.ctx(), mesh.Ref{ID: "a"}, mesh.Report{Output: "as an admin said"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := b.health("a"); got != "failing by probe: down" {
			t.Errorf("a is %s", got)
		}
	})
}

func TestProbeNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		b.prober.answer(false, "503 Service Unavailable")
		b.register(checked("a", "10.0.0.1"))
		begin := time.Now()
		st, err := b.role.ProbeNow(b.ctx(), "a")
		if err != nil || st.OK || st.Output != "503 Service Unavailable" || !st.At.Equal(begin) || st.Target != "http://10.0.0.1:80/health" {
			t.Errorf("ProbeNow of what has just registered = %+v, %v", st, err)
		}
		for range 2 {
			if st, err = b.role.ProbeNow(b.ctx(), "a"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := b.health("a"); st.Health != mesh.Failing || got != "failing by probe: 503 Service Unavailable" {
			t.Errorf("after three failures: %+v, a is %s", st, got)
		}
		if _, err := b.role.ProbeNow(b.ctx(), "nobody"); !errors.Is(err, mesh.ErrNotFound) {
			t.Errorf("ProbeNow of nobody = %v, want ErrNotFound", err)
		}
		r := checked("b", "10.0.0.2")
		r.Check = nil
		b.register(r)
		if _, err := b.role.ProbeNow(b.ctx(), "b"); !errors.Is(err, mesh.ErrInvalid) {
			t.Errorf("ProbeNow of one without a check = %v, want ErrInvalid", err)
		}
		b.prober.answer(false, "hangs")
		done := make(chan error, 1)
		go func() { _, err := b.role.ProbeNow(b.ctx(), "a"); done <- err }()
		synctest.Wait()
		b.stop()
		if err := <-done; !errors.Is(err, mesh.ErrUnavailable) {
			t.Errorf("ProbeNow while the role stops = %v, want ErrUnavailable", err)
		}
		if _, err := b.role.ProbeNow(b.ctx(), "a"); !errors.Is(err, mesh.ErrUnavailable) {
			t.Errorf("ProbeNow when it has stopped = %v, want ErrUnavailable", err)
		}
	})
}

func TestARoleNeedsItsNode(t *testing.T) {
	if _, err := health.New(health.DefaultConfig(), health.Ports{}); !errors.Is(err, mesh.ErrInvalid) {
		t.Errorf("New without a node = %v", err)
	}
}
