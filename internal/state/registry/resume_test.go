package registry_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestAResumeThatSaysSomethingElseIsANewIncarnation(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*mesh.Registration)
		anew bool
	}{
		{"the same goes on", func(*mesh.Registration) {}, false},
		{"a service of other case goes on", func(r *mesh.Registration) { r.Service = "WEB" }, false},
		{"another service", func(r *mesh.Registration) { r.Service = "api" }, true},
		{"another port", func(r *mesh.Registration) { r.Port = 9999 }, true},
		{"another address", func(r *mesh.Registration) { r.Address = "10.0.0.2" }, true},
		{"an address of its own node", func(r *mesh.Registration) { r.Address = "" }, true},
		{"other metadata", func(r *mesh.Registration) { r.Metadata = map[string]string{"weight": "3"} }, true},
		{"no metadata", func(r *mesh.Registration) { r.Metadata = nil }, true},
		{"another check", func(r *mesh.Registration) { r.Check = &mesh.Check{HTTP: "/other"} }, true},
		{"no check", func(r *mesh.Registration) { r.Check = nil }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *running) {
				reg := func() mesh.Registration {
					reg := web("a")
					reg.Metadata = map[string]string{"weight": "2"}
					reg.Check = &mesh.Check{HTTP: "/healthz", Interval: time.Millisecond} // is clamped
					return reg
				}
				s, err := r.Open(service(t), reg(), 0)
				if err != nil {
					t.Fatal(err)
				}
				now := reg()
				c.edit(&now)
				again, err := r.Open(service(t), now, s.Instance().Incarnation)
				if err != nil {
					t.Fatal(err)
				}
				if anew := again.Instance().Incarnation != s.Instance().Incarnation; anew != c.anew {
					t.Errorf("registered anew = %v, want %v", anew, c.anew)
				}
			})
		})
	}
}

func TestAReportForAnInstanceWithoutASessionHoldsForAGrace(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		s := openSession(t, r, "a", 0)
		s.Close(true)
		advance(time.Second)
		wantHealth(t, r, "a", "failing")
		if err := r.Report(service(t), mesh.Ref{ID: "a"}, mesh.Report{Health: mesh.Passing}); err != nil {
			t.Fatal(err)
		}
		advance(mesh.SessionGrace - time.Millisecond)
		wantHealth(t, r, "a", "passing")
		advance(time.Millisecond)
		wantHealth(t, r, "a", "failing")
	})
}

func TestOverlaidInstancesOfAVanishedServiceAreSuspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFlaky(memory.NewStore())
		r := start(t, store)
		var sessions []mesh.Session
		for _, id := range []string{"a", "b", "c", "d"} {
			sessions = append(sessions, openSession(t, r, id, 0))
		}
		store.setDown()
		synctest.Wait()
		for _, s := range sessions {
			s.Close(true)
		}
		advance(mesh.SessionGrace)
		for _, id := range []string{"a", "b", "c", "d"} {
			wantHealth(t, r, id, "suspect")
		}
	})
}

func TestAWatchFromARevisionToComeBeginsWithWhatThereIs(t *testing.T) {
	for _, c := range []struct {
		name  string
		since func(mesh.Revision) mesh.Revision
	}{
		{"of a later number", func(r mesh.Revision) mesh.Revision { return mesh.Revision{Epoch: r.Epoch, Number: r.Number + 100} }},
		{"of a later epoch", func(r mesh.Revision) mesh.Revision { return mesh.Revision{Epoch: r.Epoch + 1, Number: 1} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *running) {
				register(t, r, web("a"))
				at := revision(t, r)
				got := make(chan *mesh.Snapshot, 2)
				go func() {
					n := 0
					for s, err := range r.Watch(t.Context(), c.since(at)) {
						if err != nil {
							t.Errorf("watch: %v", err)
						}
						got <- s
						if n++; n == 2 {
							return
						}
					}
				}()
				synctest.Wait()
				select {
				case s := <-got:
					if s.Revision != at || s.Instances() != 1 {
						t.Errorf("Watch yields %s, want the whole at %s", s.Revision, at)
					}
				default:
					t.Error("Watch yields nothing, want the current snapshot at once")
				}
				register(t, r, web("b"))
				synctest.Wait()
				select {
				case s := <-got:
					if s.Instances() != 2 {
						t.Errorf("Watch yields %d instances, want 2", s.Instances())
					}
				default:
					t.Error("Watch yields no later snapshot")
				}
			})
		})
	}
}

func TestALapsedSessionMayBeOpenedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		s := openSession(t, r, "a", 0)
		advance(mesh.LeaseTTL)
		wantHealth(t, r, "a", "gone")
		<-s.Done()
		if !errors.Is(s.Err(), mesh.ErrUnavailable) || errors.Is(s.Err(), mesh.ErrNotFound) {
			t.Errorf("the session ended with %v, want ErrUnavailable: nobody deregistered the instance", s.Err())
		}
		if err := s.Renew(t.Context()); !errors.Is(err, mesh.ErrUnavailable) {
			t.Errorf("Renew = %v, want ErrUnavailable", err)
		}
	})
}

// callback is a log handler that calls back, as one does that tells of the node's state.
type callback func()

func (callback) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (c callback) Handle(context.Context, slog.Record) error  { c(); return nil }
func (c callback) WithAttrs([]slog.Attr) slog.Handler         { return c }
func (c callback) WithGroup(string) slog.Handler              { return c }

func TestNothingIsLoggedUnderTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ask func()
		logged := 0
		h := callback(func() { logged++; ask() })
		store := newFlaky(memory.NewStore())
		reg, err := registry.New(registry.Config{NodeID: node, Log: slog.New(h)}, store)
		if err != nil {
			t.Fatal(err)
		}
		ask = func() { reg.Stats() }
		r := run(t, reg, store)
		if _, err := store.Store.Commit(t.Context(), registry.Txn{Writes: []registry.Write{{Key: "strange", Data: []byte("x")}}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		store.setDown()
		synctest.Wait()
		if logged < 2 || !r.Stats().Stale {
			t.Errorf("logged %d times, want the damage and the outage", logged)
		}
	})
}
