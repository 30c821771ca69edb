package registry_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestALostSessionFailsAfterTheGraceAndLapses(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		s := openSession(t, r, "a", 0)
		advance(10 * time.Second)
		if err := s.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Close(true)
		advance(mesh.SessionGrace - time.Millisecond)
		wantHealth(t, r, "a", "passing")
		advance(time.Millisecond)
		wantHealth(t, r, "a", "failing")
		advance(mesh.LeaseTTL - mesh.SessionGrace - time.Millisecond)
		wantHealth(t, r, "a", "failing")
		advance(time.Millisecond)
		wantHealth(t, r, "a", "gone")
		select {
		case <-s.Done():
			t.Error("Done is closed by Close")
		default:
		}
	})
}

func TestASessionResumedWithinTheGraceWritesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		s := openSession(t, r, "a", 0)
		before := revision(t, r)
		s.Close(true)
		advance(mesh.SessionGrace / 2)
		again := openSession(t, r, "a", s.Instance().Incarnation)
		advance(mesh.LeaseTTL - time.Second)
		wantHealth(t, r, "a", "passing")
		if again.Instance().Incarnation != s.Instance().Incarnation || revision(t, r) != before {
			t.Errorf("a resume wrote: incarnation %d to %d, revision %s to %s",
				s.Instance().Incarnation, again.Instance().Incarnation, before, revision(t, r))
		}
	})
}

func TestAResumedSessionTakesItsOwnVerdictBackAndNoOther(t *testing.T) {
	for _, c := range []struct {
		name   string
		report mesh.Health
	}{
		{"a passing instance passes again", mesh.Passing},
		{"a degraded instance is degraded again", mesh.Degraded},
		{"an instance that reported failing goes on failing", mesh.Failing},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *running) {
				s := openSession(t, r, "a", 0)
				if err := s.Report(t.Context(), mesh.Report{Health: c.report}); err != nil {
					t.Fatal(err)
				}
				s.Close(true)
				advance(time.Second)
				wantHealth(t, r, "a", "failing")
				again := openSession(t, r, "a", s.Instance().Incarnation)
				if got := healthOf(t, r, "a"); got != c.report.String() {
					t.Errorf("after the resume it is %s, want %s", got, c.report)
				}
				if again.Instance().Incarnation != s.Instance().Incarnation {
					t.Error("the resume opened a new incarnation")
				}
			})
		})
	}
}

func TestASessionClosedInOrderLeavesAFreshLease(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		s := openSession(t, r, "a", 0)
		advance(20 * time.Second)
		before := revision(t, r)
		s.Close(false)
		advance(mesh.LeaseTTL - time.Millisecond)
		wantHealth(t, r, "a", "passing")
		if got := revision(t, r); got != before {
			t.Errorf("closing wrote: revision %s to %s", before, got)
		}
		advance(time.Millisecond)
		wantHealth(t, r, "a", "gone")
	})
}

func TestWhatEndsASession(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*testing.T, *running, mesh.Session)
		want error
	}{
		{"a new incarnation by another session", func(t *testing.T, r *running, _ mesh.Session) {
			t.Helper()
			openSession(t, r, "a", 0)
		}, mesh.ErrStale},
		{"another session that resumes", func(t *testing.T, r *running, s mesh.Session) {
			t.Helper()
			openSession(t, r, "a", s.Instance().Incarnation)
		}, mesh.ErrStale},
		{"a registration without a session", func(t *testing.T, r *running, _ mesh.Session) {
			t.Helper()
			register(t, r, web("a"))
		}, mesh.ErrStale},
		{"a deregistration", func(t *testing.T, r *running, _ mesh.Session) {
			t.Helper()
			if err := r.Deregister(service(t), mesh.Ref{ID: "a"}); err != nil {
				t.Fatal(err)
			}
		}, mesh.ErrNotFound},
		{"the end of the run", func(_ *testing.T, r *running, _ mesh.Session) { r.stop() }, mesh.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *running) {
				s := openSession(t, r, "a", 0)
				c.do(t, r, s)
				synctest.Wait()
				<-s.Done()
				if !errors.Is(s.Err(), c.want) {
					t.Errorf("Err = %v, want %v", s.Err(), c.want)
				}
				if err := s.Report(t.Context(), mesh.Report{Health: mesh.Failing}); !errors.Is(err, c.want) {
					t.Errorf("Report = %v, want %v", err, c.want)
				}
				s.Close(true)
				advance(time.Second)
				if got := healthOf(t, r, "a"); got == "failing" {
					t.Error("closing the ended session failed its successor")
				}
			})
		})
	}
}

func TestALeaseLapsesAndIsRenewed(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		reg := web("a")
		reg.TTL = 10 * time.Second
		register(t, r, reg)
		if at, ok := r.LastHeard("a"); !ok || time.Since(at) != 0 {
			t.Errorf("LastHeard = %s, %v, want now", at, ok)
		}
		ref := mesh.Ref{ID: "a"}
		advance(10*time.Second - 1)
		wantHealth(t, r, "a", "passing")
		advance(1)
		wantHealth(t, r, "a", "failing")
		if err := r.Renew(service(t), ref); err != nil {
			t.Fatal(err)
		}
		wantHealth(t, r, "a", "passing")
		advance(10 * time.Second)
		if err := r.Report(service(t), ref, mesh.Report{Health: mesh.Degraded}); err != nil {
			t.Fatal(err)
		}
		wantHealth(t, r, "a", "degraded")
		advance(10 * time.Second)
		wantHealth(t, r, "a", "failing")
		if err := r.Renew(service(t), ref); err != nil {
			t.Fatal(err)
		}
		wantHealth(t, r, "a", "degraded")
		advance(10*time.Second + time.Minute - 1)
		wantHealth(t, r, "a", "failing")
		advance(1)
		wantHealth(t, r, "a", "gone")
	})
}

func TestARenewalDoesNotTakeAReportBack(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		register(t, r, web("a"))
		advance(mesh.LeaseTTL)
		wantHealth(t, r, "a", "failing")
		if err := r.Report(service(t), mesh.Ref{ID: "a"}, mesh.Report{Health: mesh.Failing, Output: "itself"}); err != nil {
			t.Fatal(err)
		}
		if err := r.Renew(service(t), mesh.Ref{ID: "a"}); err != nil {
			t.Fatal(err)
		}
		wantHealth(t, r, "a", "failing")
	})
}

func TestPermanentInstancesStay(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		reg := web("a")
		reg.Lifetime = mesh.Permanent
		register(t, r, reg)
		advance(48 * time.Hour)
		wantHealth(t, r, "a", "passing")
		if err := r.Report(service(t), mesh.Ref{ID: "a"}, mesh.Report{Health: mesh.Failing}); err != nil {
			t.Fatal(err)
		}
		wantHealth(t, r, "a", "failing")
	})
}

func TestARestartGivesEveryLeaseItsFullLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewStore()
		r := start(t, store)
		leased := web("leased")
		leased.TTL = 10 * time.Second
		register(t, r, leased)
		s := openSession(t, r, "held", 0)
		openSession(t, r, "other", 0)
		advance(9 * time.Second)
		r.stop()
		advance(time.Hour)

		r = start(t, store)
		before := revision(t, r)
		if _, ok := r.LastHeard("leased"); ok {
			t.Error("LastHeard tells of a time before the start")
		}
		advance(9 * time.Second)
		wantHealth(t, r, "leased", "passing")
		wantHealth(t, r, "held", "passing")
		again := openSession(t, r, "held", s.Instance().Incarnation)
		if again.Instance().Incarnation != s.Instance().Incarnation || revision(t, r) != before {
			t.Error("the resume after the restart wrote")
		}
		advance(time.Second)
		wantHealth(t, r, "leased", "failing")
		advance(20 * time.Second)
		wantHealth(t, r, "other", "gone")
		wantHealth(t, r, "held", "passing")
	})
}

func TestDeregisteredStaysGone(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) { // N-18
		s := openSession(t, r, "a", 0)
		ref := mesh.Ref{ID: "a", Incarnation: s.Instance().Incarnation}
		if err := r.Deregister(service(t), ref); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for name, err := range map[string]error{
			"renewal":          r.Renew(service(t), ref),
			"report":           r.Report(service(t), ref, mesh.Report{}),
			"session renewal":  s.Renew(t.Context()),
			"nameless renewal": r.Renew(service(t), mesh.Ref{ID: "a"}),
		} {
			if !errors.Is(err, mesh.ErrNotFound) {
				t.Errorf("a %s = %v, want ErrNotFound", name, err)
			}
		}
		wantHealth(t, r, "a", "gone")
		again := openSession(t, r, "a", ref.Incarnation)
		if again.Instance().Incarnation <= ref.Incarnation {
			t.Errorf("a resume of a deregistered incarnation went on as %d", again.Instance().Incarnation)
		}
		wantHealth(t, r, "a", "passing")
		if err := r.Renew(service(t), ref); !errors.Is(err, mesh.ErrStale) {
			t.Errorf("a renewal of the old incarnation = %v, want ErrStale", err)
		}
	})
}

func TestAResumeOnAnotherPortIsANewIncarnation(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		s := openSession(t, r, "a", 0)
		reg := web("a")
		reg.Port = 9999
		again, err := r.Open(service(t), reg, s.Instance().Incarnation)
		if err != nil {
			t.Fatal(err)
		}
		if again.Instance().Incarnation == s.Instance().Incarnation || again.Instance().Port != 9999 {
			t.Errorf("Open = %+v, want a new incarnation on the new port", again.Instance())
		}
	})
}

func TestMostOfAServiceVanishing(t *testing.T) {
	for _, c := range []struct {
		name           string
		total, vanish  int
		apart          time.Duration
		want           string
		suspectLateral bool
	}{
		{"three of four at once are suspect", 4, 3, 0, "suspect", true},
		{"two of four are failing", 4, 2, 0, "failing", false},
		{"all of three are failing", 3, 3, 0, "failing", false},
		{"three of four within five seconds are suspect", 4, 3, 2 * time.Second, "suspect", true},
		{"three of four apart are failing", 4, 3, 6 * time.Second, "failing", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *running) {
				sessions := make([]mesh.Session, c.total)
				for i := range sessions {
					sessions[i] = openSession(t, r, fmt.Sprintf("i%d", i), 0)
				}
				for i := range c.vanish {
					sessions[i].Close(true)
					if i < c.vanish-1 {
						advance(c.apart)
					}
				}
				advance(mesh.SessionGrace)
				for i := range c.vanish {
					wantHealth(t, r, fmt.Sprintf("i%d", i), c.want)
				}
				for i := c.vanish; i < c.total; i++ {
					wantHealth(t, r, fmt.Sprintf("i%d", i), "passing")
				}
				if !c.suspectLateral {
					return
				}
				again := openSession(t, r, "i0", sessions[0].Instance().Incarnation)
				wantHealth(t, r, "i0", "passing")
				for range 5 {
					advance(9 * time.Second)
					for _, s := range append(sessions[c.vanish:], again) {
						if err := s.Renew(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
				}
				wantHealth(t, r, "i1", "suspect")
				advance(2*mesh.LeaseTTL - 45*time.Second)
				wantHealth(t, r, "i1", "gone")
				wantHealth(t, r, "i0", "passing")
			})
		})
	}
}

func TestSilentSessionsOfMostOfAServiceAreSuspect(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		for i := range 4 {
			openSession(t, r, fmt.Sprintf("i%d", i), 0)
		}
		advance(mesh.LeaseTTL)
		wantHealth(t, r, "i0", "suspect")
		if err := r.Renew(service(t), mesh.Ref{ID: "i0"}); err != nil {
			t.Fatal(err)
		}
		wantHealth(t, r, "i0", "passing")
		advance(mesh.LeaseTTL - time.Millisecond)
		wantHealth(t, r, "i1", "suspect")
		advance(time.Millisecond)
		wantHealth(t, r, "i1", "gone")
	})
}

func TestManyLostSessionsAreOneTransaction(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		const n = 150
		var sessions []mesh.Session
		for i := range n {
			reg := web(fmt.Sprintf("i%03d", i))
			reg.Service = fmt.Sprintf("s%03d", i)
			s, err := r.Open(service(t), reg, 0)
			if err != nil {
				t.Fatal(err)
			}
			sessions = append(sessions, s)
		}
		before := revision(t, r)
		for _, s := range sessions {
			s.Close(true)
		}
		advance(mesh.SessionGrace)
		wantHealth(t, r, "i149", "failing")
		if got := revision(t, r).Number - before.Number; got != 2 {
			t.Errorf("%d verdicts took %d transactions, want 2", n, got)
		}
		entries := journalOf(t, r.store, before, 2)
		if len(entries[0].Also) != 99 || entries[0].Why != "session lost" || entries[0].Who != "node "+node {
			t.Errorf("journal entry = %+v", entries[0])
		}
	})
}
