package registry_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// owned is what one run of a program registers under the id dup.
func owned(owner string) mesh.Registration {
	reg := web("dup")
	reg.Owner = owner
	return reg
}

func TestOfTwoRunsWithOneIDTheLaterWins(t *testing.T) {
	for _, c := range []struct {
		name         string
		first, later string
		want         error
	}{
		{"the older run is told that another one took the id", "A", "B", mesh.ErrStale},
		{"a run whose answer was lost goes on", "A", "A", nil},
		{"one that says no owner registers anew", "", "B", nil},
		{"one that was followed by who says no owner registers anew", "A", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory.NewStore()
				r := start(t, store)
				a, err := r.Open(service(t), owned(c.first), 0)
				if err != nil {
					t.Fatal(err)
				}
				r.stop()
				r = start(t, store)
				b, err := r.Open(service(t), owned(c.later), 0)
				if err != nil {
					t.Fatal(err)
				}
				again, err := r.Open(service(t), owned(c.first), a.Instance().Incarnation)
				if !errors.Is(err, c.want) {
					t.Fatalf("the older run's Open = %v, want %v", err, c.want)
				}
				if c.want != nil {
					if b.Err() != nil {
						t.Errorf("the later run's session ended: %v", b.Err())
					}
					if inst, _ := r.Instance(t.Context(), "dup"); inst.Incarnation != b.Instance().Incarnation {
						t.Errorf("incarnation %d is registered, want the later run's %d", inst.Incarnation, b.Instance().Incarnation)
					}
					return
				}
				synctest.Wait()
				if got := b.Err(); c.first == c.later && !errors.Is(got, mesh.ErrUnavailable) || c.first != c.later && !errors.Is(got, mesh.ErrStale) {
					t.Errorf("the session in between ended with %v", got)
				}
				if again.Err() != nil {
					t.Errorf("the session that goes on ended: %v", again.Err())
				}
			})
		})
	}
}

func TestTheLaterOfTwoRunsWinsWhicheverComesFirstToANodeThatWasDown(t *testing.T) {
	for _, c := range []struct {
		name       string
		laterFirst bool
		forgotten  bool // the node came back with another store
	}{
		{"the later first", true, false},
		{"the older first", false, false},
		{"the later first, and the node has forgotten", true, true},
		{"the older first, and the node has forgotten", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory.NewStore()
				r := start(t, store)
				for range 5 {
					register(t, r, web("other"))
				}
				a, err := r.Open(service(t), owned("A"), 0)
				if err != nil {
					t.Fatal(err)
				}
				r.stop()
				if c.forgotten {
					store = memory.NewStore()
				}
				r = start(t, store)
				var older, later mesh.Session
				var stopped error
				resume := func() { older, stopped = r.Open(service(t), owned("A"), a.Instance().Incarnation) }
				if !c.laterFirst {
					resume()
				}
				if later, err = r.Open(service(t), owned("B"), 0); err != nil {
					t.Fatal(err)
				}
				if c.laterFirst {
					resume()
				} else if stopped == nil {
					stopped = older.Err()
				}
				if !errors.Is(stopped, mesh.ErrStale) || later.Err() != nil {
					t.Errorf("the older ends with %v and the later with %v, want the older one's to be ErrStale alone", stopped, later.Err())
				}
			})
		})
	}
}

// A record that came back from a backup is no sign of another run: nobody holds it.
func TestAnOlderRecordOfAnotherRunDoesNotEndOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewStore()
		r := start(t, store)
		old, err := r.Open(service(t), owned("dead"), 0)
		if err != nil {
			t.Fatal(err)
		}
		r.stop()
		r = start(t, store)
		s, err := r.Open(service(t), owned("A"), old.Instance().Incarnation+100)
		if err != nil || s.Instance().Incarnation <= old.Instance().Incarnation {
			t.Errorf("Open = %v, want a new incarnation", err)
		}
	})
}

func TestAnOwnerIsWellFormed(t *testing.T) {
	if got := fieldsOf(registry.Validate(owned("a b"), registry.FamilyNames)); !cmp.Equal(got, []string{"owner"}) {
		t.Errorf("wrong fields are %q, want owner", got)
	}
}

func TestARestartOfTheNodeUndoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewStore()
		r := start(t, store)
		reg := owned("A")
		reg.Metadata = map[string]string{"weight": "1", "zone": "a"}
		s, err := r.Open(service(t), reg, 0)
		if err != nil {
			t.Fatal(err)
		}
		ref := mesh.Ref{ID: "dup"}
		if err := errors.Join(r.SetMetadata(service(t), ref, map[string]string{"weight": "5"}), r.Drain(service(t), ref),
			r.Report(service(t), ref, mesh.Report{Health: mesh.Degraded})); err != nil {
			t.Fatal(err)
		}
		want, err := r.Instance(t.Context(), "dup")
		if err != nil {
			t.Fatal(err)
		}
		r.stop()
		r = start(t, store)
		if _, err := r.Open(service(t), reg, s.Instance().Incarnation); err != nil {
			t.Fatal(err)
		}
		got, err := r.Instance(t.Context(), "dup")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("after the restart (-want +got):\n%s", d)
		}
		reg.Metadata = map[string]string{"weight": "2"}
		changed, err := r.Open(service(t), reg, s.Instance().Incarnation)
		if err != nil || changed.Instance().Incarnation == want.Incarnation {
			t.Errorf("Open with other metadata = %v, want a new incarnation", err)
		}
	})
}

func TestWhatANewIncarnationKeeps(t *testing.T) {
	for _, c := range []struct {
		name         string
		first, later string
		draining     bool
		weight       string
	}{
		{"of the same run, what an operator said", "A", "A", true, "5"},
		{"of another run, nothing", "A", "B", false, "1"},
		{"of who says no owner, nothing", "", "", false, "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *running) {
				open := func(owner string) mesh.Instance {
					reg := owned(owner)
					reg.Metadata = map[string]string{"weight": "1"}
					s, err := r.Open(service(t), reg, 0)
					if err != nil {
						t.Fatal(err)
					}
					return s.Instance()
				}
				open(c.first)
				ref := mesh.Ref{ID: "dup"}
				if err := errors.Join(r.SetMetadata(service(t), ref, map[string]string{"weight": "5"}), r.Drain(service(t), ref)); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if inst := open(c.later); inst.Draining != c.draining || inst.Metadata["weight"] != c.weight {
						t.Errorf("draining is %v and the weight %s, want %v and %s", inst.Draining, inst.Metadata["weight"], c.draining, c.weight)
					}
				}
			})
		})
	}
}

func TestNoProbeLeadsToTheNodeItself(t *testing.T) {
	ours := netip.MustParseAddrPort("127.0.0.1:7000")
	cfg := registry.Config{NodeID: node, OwnListeners: func() []netip.AddrPort { return []netip.AddrPort{ours} }}
	r := startWith(t, cfg, memory.NewStore())
	reg := func(port int, check *mesh.Check, metadata map[string]string) mesh.Registration {
		return mesh.Registration{Service: "web", ID: "a", Address: "127.0.0.1", Port: port, Check: check, Metadata: metadata, Lifetime: mesh.Leased}
	}
	for _, c := range []struct {
		name string
		reg  mesh.Registration
		want []string
	}{
		{"a port of its own", reg(8080, &mesh.Check{}, nil), nil},
		{"a check of a port of its own", reg(8080, &mesh.Check{Port: 8081}, map[string]string{"tcp_port": "8082"}), nil},
		{"a check of a listener", reg(8080, &mesh.Check{Port: 7000}, nil), []string{"check.port"}},
		{"a port of the metadata that is a listener", reg(8080, nil, map[string]string{"tcp_port": "7000"}), []string{"metadata.tcp_port"}},
		{"a port of the metadata that is none", reg(8080, nil, map[string]string{"tcp_port": "x"}), nil},
		{"all at once", reg(7000, &mesh.Check{Port: 7000}, map[string]string{"tcp_port": "7000"}), []string{"check.port", "metadata.tcp_port", "port"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := r.Register(as(t, 0, "127.0.0.1"), c.reg)
			if got := fieldsOf(err); !slices.Equal(got, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("Register = %v with the fields %q, want %q", err, got, c.want)
			}
		})
	}
	err := r.SetMetadata(as(t, 0, "127.0.0.1"), mesh.Ref{ID: "a"}, map[string]string{"tcp_port": "7000"})
	if got := fieldsOf(err); !slices.Equal(got, []string{"metadata.tcp_port"}) {
		t.Errorf("SetMetadata = %v, want it refused", err)
	}
}

func TestALeaseThatLapsedIsRegisteredAnewByItsRun(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		s, err := r.Open(service(t), owned("A"), 0)
		if err != nil {
			t.Fatal(err)
		}
		advance(mesh.LeaseTTL + time.Second)
		wantHealth(t, r, "dup", "gone")
		if _, err := r.Open(service(t), owned("A"), s.Instance().Incarnation); err != nil {
			t.Errorf("Open = %v", err)
		}
	})
}
