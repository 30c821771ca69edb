package registry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestARegistrationIsReadBackAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		reg := web("")
		reg.Metadata = map[string]string{"weight": "2"}
		reg.Check = &mesh.Check{HTTP: "/healthz", TLS: true, Port: 81, Interval: time.Millisecond, Up: 1000, Down: -1}
		inst := register(t, r, reg)
		if !strings.HasPrefix(inst.ID, "web-") || inst.Incarnation == 0 || inst.Incarnation != inst.Revision.Number {
			t.Errorf("Register = %+v, want an id that begins with web- and the commit's incarnation", inst)
		}
		if want := (mesh.Check{HTTP: "/healthz", TLS: true, Port: 81, Interval: time.Second, Up: 100}); *inst.Check != want {
			t.Errorf("check = %+v, want it clamped to %+v", *inst.Check, want)
		}
		got, err := r.Instance(t.Context(), inst.ID)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(inst, got); d != "" {
			t.Errorf("Instance (-registered +read):\n%s", d)
		}
		snap, err := r.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if snap.Stale || snap.Revision != inst.Revision || len(snap.Services["web"]) != 1 {
			t.Errorf("Snapshot = %+v, want the instance at %s", snap, inst.Revision)
		}
	})
}

func TestEachRegistrationIsANewIncarnation(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		first := register(t, r, web("a"))
		second := register(t, r, web("a"))
		if err := r.Deregister(service(t), mesh.Ref{ID: "a"}); err != nil {
			t.Fatal(err)
		}
		third := register(t, r, web("a"))
		if first.Incarnation >= second.Incarnation || second.Incarnation >= third.Incarnation {
			t.Errorf("incarnations %d, %d, %d do not rise", first.Incarnation, second.Incarnation, third.Incarnation)
		}
		if err := r.Drain(service(t), mesh.Ref{ID: "a"}); err != nil {
			t.Fatal(err)
		}
		if got, _ := r.Instance(t.Context(), "a"); got.Incarnation != third.Incarnation || !got.Draining {
			t.Errorf("after a drain the incarnation is %d, want %d", got.Incarnation, third.Incarnation)
		}
	})
}

func TestChangesOfOtherIncarnationsAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		old := register(t, r, web("a"))
		now := register(t, r, web("a"))
		calls := map[string]func(mesh.Ref) error{
			"renew":      func(ref mesh.Ref) error { return r.Renew(service(t), ref) },
			"report":     func(ref mesh.Ref) error { return r.Report(service(t), ref, mesh.Report{Health: mesh.Failing}) },
			"drain":      func(ref mesh.Ref) error { return r.Drain(service(t), ref) },
			"deregister": func(ref mesh.Ref) error { return r.Deregister(service(t), ref) },
		}
		before := revision(t, r)
		for name, call := range calls {
			if err := call(mesh.Ref{ID: "a", Incarnation: old.Incarnation}); !errors.Is(err, mesh.ErrStale) {
				t.Errorf("%s of an old incarnation = %v, want ErrStale", name, err)
			}
			if err := call(mesh.Ref{ID: "b"}); !errors.Is(err, mesh.ErrNotFound) || mesh.CodeOf(err) != mesh.CodeInstanceNone {
				t.Errorf("%s of an unknown id = %v, want ErrNotFound", name, err)
			}
		}
		if got := revision(t, r); got != before {
			t.Errorf("refused calls raised the revision from %s to %s", before, got)
		}
		for _, name := range []string{"renew", "report", "drain", "deregister"} {
			if err := calls[name](mesh.Ref{ID: "a", Incarnation: now.Incarnation}); err != nil {
				t.Errorf("%s of the current incarnation = %v", name, err)
			}
		}
	})
}

func TestOnlyWhoRegisteredMayChange(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		anonymous, admin := as(t, identity.Anonymous, "10.0.0.8"), as(t, identity.Admin, "10.0.0.8")
		register(t, r, web("a"))
		if _, err := r.Register(anonymous, web("a")); !errors.Is(err, mesh.ErrForbidden) {
			t.Errorf("an anonymous caller took over a service's id: %v", err)
		}
		if err := r.Deregister(anonymous, mesh.Ref{ID: "a"}); !errors.Is(err, mesh.ErrForbidden) {
			t.Errorf("an anonymous caller deregistered a service's instance: %v", err)
		}
		if _, err := r.Register(anonymous, web("b")); err != nil {
			t.Fatal(err)
		}
		if err := r.Renew(service(t), mesh.Ref{ID: "b"}); !errors.Is(err, mesh.ErrForbidden) {
			t.Errorf("a service renewed an anonymous instance: %v", err)
		}
		if got, _ := r.Instance(t.Context(), "b"); got.Registrar != "anonymous" {
			t.Errorf("registrar = %q, want anonymous", got.Registrar)
		}
		for _, id := range []string{"a", "b"} {
			if err := r.Deregister(admin, mesh.Ref{ID: id}); err != nil {
				t.Errorf("an admin may deregister %s: %v", id, err)
			}
		}
	})
}

func TestOnlyChangesRaiseTheRevision(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		start := revision(t, r)
		register(t, r, web("a"))
		s := openSession(t, r, "b", 0)
		ref := mesh.Ref{ID: "a"}
		before := revision(t, r)
		for range 100 {
			advance(5 * time.Second)
			for _, err := range []error{
				r.Renew(service(t), ref), r.Report(service(t), ref, mesh.Report{Health: mesh.Passing, Output: "fine"}),
				s.Renew(t.Context()), s.Report(t.Context(), mesh.Report{}),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := revision(t, r); got != before {
			t.Errorf("renewals and same reports raised the revision from %s to %s", before, got)
		}
		report := func(h mesh.Health) error { return r.Report(service(t), ref, mesh.Report{Health: h, Output: "why"}) }
		for _, err := range []error{report(mesh.Degraded), report(mesh.Degraded), r.Drain(service(t), ref), r.Drain(service(t), ref),
			r.Deregister(service(t), ref)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, e := range journalOf(t, r.store, start, 5) {
			got = append(got, fmt.Sprint(e.What, " ", e.Service, " ", e.ID, " by ", e.Who, ": ", e.Why))
		}
		want := []string{"register web a by service 10.0.0.9: ", "register web b by service 10.0.0.9: ",
			"verdict web a by service 10.0.0.9: reported degraded", "drain web a by service 10.0.0.9: request",
			"deregister web a by service 10.0.0.9: request"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("journal (-want +got):\n%s", d)
		}
		if got, want := revision(t, r).Number-before.Number, uint64(3); got != want {
			t.Errorf("the changes took %d revisions, want %d", got, want)
		}
	})
}

func TestHeldNeedsASession(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		reg := web("a")
		reg.Lifetime = mesh.Held
		if _, err := r.Register(service(t), reg); !cmp.Equal(fieldsOf(err), []string{"lifetime"}) {
			t.Errorf("Register of a held instance = %v, want the field lifetime", err)
		}
	})
}

func TestReportsAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		register(t, r, web("a"))
		if err := r.Report(service(t), mesh.Ref{ID: "a"}, mesh.Report{Health: mesh.Suspect}); !cmp.Equal(fieldsOf(err), []string{"health"}) {
			t.Errorf("a report of suspect = %v, want the field health", err)
		}
		long := strings.Repeat("é", registry.MaxOutput)
		if err := r.Report(service(t), mesh.Ref{ID: "a"}, mesh.Report{Health: mesh.Failing, Output: "x" + long}); err != nil {
			t.Fatal(err)
		}
		got, _ := r.Instance(t.Context(), "a")
		if want := "x" + long[:registry.MaxOutput-2]; got.HealthOutput != want {
			t.Errorf("output has %d bytes, want %d of whole characters", len(got.HealthOutput), len(want))
		}
		if got.HealthAt.IsZero() {
			t.Error("a verdict has no time")
		}
	})
}

func TestInitiallyFailingServesAfterItsFirstReport(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		reg := web("a")
		reg.InitiallyFailing = true
		register(t, r, reg)
		if err := r.Renew(service(t), mesh.Ref{ID: "a"}); err != nil {
			t.Fatal(err)
		}
		wantHealth(t, r, "a", "failing")
		if err := r.Report(service(t), mesh.Ref{ID: "a"}, mesh.Report{Health: mesh.Passing}); err != nil {
			t.Fatal(err)
		}
		wantHealth(t, r, "a", "passing")
	})
}

func TestDamagedRecordsAreKeptAndNotServed(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		register(t, r, web("good"))
		inst := register(t, r, web("bad"))
		_, values, err := r.store.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var data []byte
		for _, v := range values {
			if v.Key == "instance/bad" {
				data = append([]byte(nil), v.Data...)
			}
		}
		data[len(data)/2] ^= 1
		if _, err := r.store.Commit(t.Context(), registry.Txn{Writes: []registry.Write{
			{Key: "instance/bad", Data: data, If: inst.Revision.Number}, {Key: "strange", Data: []byte("x")}}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		check := func(r *running) {
			t.Helper()
			if _, err := r.Instance(t.Context(), "bad"); !errors.Is(err, mesh.ErrNotFound) {
				t.Errorf("a damaged record is served: %v", err)
			}
			wantHealth(t, r, "good", "passing")
			got := r.Stats().Damaged
			if len(got) != 2 || got[0].Key != "instance/bad" || !strings.Contains(got[0].Reason, "checksum") || got[1].Key != "strange" {
				t.Errorf("Damaged = %+v, want instance/bad with its checksum, and strange", got)
			}
		}
		check(r)
		if _, values, _ := r.store.Load(t.Context()); len(values) != 3 {
			t.Errorf("the store holds %d values, want all 3", len(values))
		}
		r.stop()
		r = run(t, r.Registry, r.store)
		check(r)
		for _, ctx := range []context.Context{service(t), as(t, identity.Anonymous, "10.0.0.8")} {
			if _, err := r.Register(ctx, web("bad")); !errors.Is(err, mesh.ErrForbidden) || !strings.Contains(err.Error(), "deregister") {
				t.Errorf("Register over a damaged record = %v, want ErrForbidden and what to do", err)
			}
			if err := r.Deregister(ctx, mesh.Ref{ID: "bad"}); !errors.Is(err, mesh.ErrForbidden) {
				t.Errorf("Deregister of a damaged record = %v, want ErrForbidden", err)
			}
		}
		admin := as(t, identity.Admin, "10.0.0.8")
		if _, err := r.Register(admin, web("bad")); err != nil {
			t.Errorf("an admin may register over a damaged record: %v", err)
		}
		wantHealth(t, r, "bad", "passing")
		if got := r.Stats().Damaged; len(got) != 1 {
			t.Errorf("Damaged = %+v after a fresh registration, want strange alone", got)
		}
	})
}

func TestAnAdminRemovesADamagedRecord(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		start := revision(t, r)
		if _, err := r.store.Commit(t.Context(), registry.Txn{Writes: []registry.Write{{Key: "instance/bad", Data: []byte("x")}}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := r.Deregister(as(t, identity.Admin, "10.0.0.8"), mesh.Ref{ID: "bad"}); err != nil {
			t.Fatal(err)
		}
		if _, values, err := r.store.Load(t.Context()); err != nil || len(values) != 0 {
			t.Errorf("Load = %v, %v, want nothing", values, err)
		}
		if got := r.Stats().Damaged; len(got) != 0 {
			t.Errorf("Damaged = %+v, want none", got)
		}
		entries := journalOf(t, r.store, mesh.Revision{Epoch: start.Epoch, Number: start.Number + 1}, 1)
		if e := entries[0]; e.What != registry.DidDeregister || e.ID != "bad" {
			t.Errorf("journal entry = %+v, want that bad was deregistered", e)
		}
		register(t, r, web("bad"))
	})
}

func TestConcurrentRegistrationsOfOneIDAllCount(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		const n = 8
		incs := make(chan uint64, n)
		for range n {
			go func() {
				inst, err := r.Register(service(t), web("a"))
				if err != nil {
					t.Error(err)
				}
				incs <- inst.Incarnation
			}()
		}
		seen, last := map[uint64]bool{}, uint64(0)
		for range n {
			inc := <-incs
			seen[inc] = true
			last = max(last, inc)
		}
		if got, _ := r.Instance(t.Context(), "a"); len(seen) != n || got.Incarnation != last {
			t.Errorf("%d incarnations of %d registrations, current %d of %d", len(seen), n, got.Incarnation, last)
		}
	})
}

func TestBeforeAndBetweenRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewStore()
		reg, err := registry.New(registry.Config{NodeID: node}, store)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := reg.Snapshot(t.Context()); !errors.Is(err, mesh.ErrUnavailable) {
			t.Errorf("Snapshot before the first run = %v, want ErrUnavailable", err)
		}
		r := run(t, reg, store)
		if err := reg.Run(t.Context(), func() {}); err == nil {
			t.Error("a second Run at the same time succeeded")
		}
		inst := register(t, r, web("a"))
		s := openSession(t, r, "b", 0)
		before, _ := r.Snapshot(t.Context())
		r.stop()
		<-s.Done()
		if !errors.Is(s.Err(), mesh.ErrUnavailable) {
			t.Errorf("the session ended with %v, want ErrUnavailable", s.Err())
		}
		s.Close(true)
		if _, err := r.Register(service(t), web("c")); !errors.Is(err, mesh.ErrUnavailable) {
			t.Errorf("Register between runs = %v, want ErrUnavailable", err)
		}
		if err := r.Renew(service(t), mesh.Ref{ID: "a"}); !errors.Is(err, mesh.ErrUnavailable) {
			t.Errorf("Renew between runs = %v, want ErrUnavailable", err)
		}
		if got, err := r.Instance(t.Context(), "a"); err != nil || got.Incarnation != inst.Incarnation {
			t.Errorf("Instance between runs = %+v, %v", got, err)
		}
		snap, err := r.Snapshot(t.Context())
		if err != nil || !snap.Stale || snap.Instances() != 2 {
			t.Errorf("Snapshot between runs = %+v, %v, want the last one, stale", snap, err)
		}
		advance(time.Hour)
		r = run(t, reg, store)
		after, _ := r.Snapshot(t.Context())
		if after.Stale || after.Services["web"][0] != before.Services["web"][0] {
			t.Error("after the second start the snapshot is stale, or an unchanged instance was made anew")
		}
		advance(29 * time.Second)
		wantHealth(t, r, "a", "passing")
		wantHealth(t, r, "b", "passing")
		advance(2 * time.Second)
		wantHealth(t, r, "a", "failing")
		wantHealth(t, r, "b", "gone")
	})
}

func TestTheFirstLoadThatFailsEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFlaky(memory.NewStore())
		store.setDown()
		reg, err := registry.New(registry.Config{NodeID: node}, store)
		if err != nil {
			t.Fatal(err)
		}
		if err := reg.Run(t.Context(), func() { t.Error("ready without a record") }); mesh.CodeOf(err) != mesh.CodeStoreNoQuorum {
			t.Errorf("Run = %v, want the store's error", err)
		}
	})
}

func TestAnOutageOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFlaky(memory.NewStore())
		r := start(t, store)
		register(t, r, web("a"))
		s := openSession(t, r, "b", 0)
		store.setDown()
		synctest.Wait()
		snap, err := r.Snapshot(t.Context())
		if err != nil || !snap.Stale || snap.Instances() != 2 || !r.Stats().Stale {
			t.Fatalf("Snapshot without a store = %+v, %v, want the last one, stale", snap, err)
		}
		if _, err := r.Register(service(t), web("c")); mesh.CodeOf(err) != mesh.CodeStoreNoQuorum {
			t.Errorf("Register without a store = %v, want its code", err)
		}
		if err := r.Renew(service(t), mesh.Ref{ID: "a"}); err != nil {
			t.Errorf("Renew without a store = %v, want it to be memory", err)
		}
		s.Close(true)
		advance(300 * time.Millisecond)
		wantHealth(t, r, "b", "failing")
		if b, err := r.Instance(t.Context(), "b"); err != nil || b.HealthBy != mesh.SourceSession || len(b.Evidence) != 1 {
			t.Errorf("b is failing by %q with evidence %+v (%v), want the session's word", b.HealthBy, b.Evidence, err)
		}
		if s := r.Stats(); !s.Stale || s.Revision != snap.Revision {
			t.Errorf("a verdict that the store could not be told of is at %+v", s)
		}
		openSession(t, r, "b", s.Instance().Incarnation)
		advance(time.Second)
		wantHealth(t, r, "b", "passing")

		store.setUp()
		advance(5 * time.Second)
		if r.Stats().Stale {
			t.Error("the snapshot is stale after the store came back")
		}
		register(t, r, web("c"))
	})
}

func TestWatchYieldsOnlyNewerSnapshots(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		register(t, r, web("a"))
		at := revision(t, r)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		seen := make(chan *mesh.Snapshot)
		go func() {
			defer close(seen)
			for s, err := range r.Watch(ctx, at) {
				if err != nil {
					t.Error(err)
				}
				seen <- s // a reader as slow as the test
			}
		}()
		synctest.Wait()
		select {
		case s := <-seen:
			t.Fatalf("Watch yields %s, which is not newer than %s", s.Revision, at)
		default:
		}
		for i := range 50 {
			register(t, r, web(fmt.Sprintf("i%d", i)))
		}
		last, n := at, 0
		for last != revision(t, r) {
			s := <-seen
			if !last.Before(s.Revision) {
				t.Fatalf("Watch went from %s to %s", last, s.Revision)
			}
			last, n = s.Revision, n+1
		}
		if n > 3 {
			t.Errorf("a slow reader saw %d of 50 revisions one by one, want it to skip", n)
		}
		cancel()
		if s, ok := <-seen; ok {
			t.Errorf("Watch yields %v after its context ended", s)
		}
	})
}

func TestOnlyWhatChangedIsNew(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		for i := range 4 {
			register(t, r, web(fmt.Sprintf("w%d", i)))
		}
		other := web("o")
		other.Service = "Other"
		register(t, r, other)
		before, _ := r.Snapshot(t.Context())
		if err := r.Drain(service(t), mesh.Ref{ID: "w2"}); err != nil {
			t.Fatal(err)
		}
		after, _ := r.Snapshot(t.Context())
		if &before.Services["other"][0] != &after.Services["other"][0] {
			t.Error("the list of an unchanged service was copied")
		}
		for i, inst := range after.Services["web"] {
			if changed := inst != before.Services["web"][i]; changed != (i == 2) {
				t.Errorf("instance %s: changed = %v", inst.ID, changed)
			}
		}
		if before.Services["web"][2].Draining {
			t.Error("a published snapshot was modified")
		}
	})
}

func TestAnIDMayMoveToAnotherService(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		register(t, r, web("a"))
		moved := web("a")
		moved.Service = "api"
		register(t, r, moved)
		snap, _ := r.Snapshot(t.Context())
		if _, ok := snap.Services["web"]; ok || len(snap.Services["api"]) != 1 {
			t.Errorf("services = %v, want api alone", snap.Services)
		}
	})
}

func TestACompactedHistoryIsLoadedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := memory.NewStore()
		store := newFlaky(inner)
		r := start(t, store)
		first := register(t, r, web("a"))
		store.setDown()
		synctest.Wait()
		rec, err := inner.Commit(t.Context(), registry.Txn{Writes: []registry.Write{{Key: "instance/a", If: first.Revision.Number}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := inner.Compact(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
		store.setUp()
		advance(5 * time.Second)
		wantHealth(t, r, "a", "gone")
	})
}
