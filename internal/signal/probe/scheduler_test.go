package probe_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/signal/probe"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func many(n int) []probe.Target {
	out := make([]probe.Target, 0, n)
	for i := range n {
		out = append(out, target(fmt.Sprintf("i-%04d", i)))
	}
	return out
}

func TestAThousandProbesAreSpreadOverTheirIntervalAndKeepTheirPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{takes: 20 * time.Millisecond}
		defer b.start(probe.Workers)()
		begin := time.Now()
		b.Set(many(1000))
		time.Sleep(60 * time.Second)
		synctest.Wait()
		b.mu.Lock()
		defer b.mu.Unlock()
		perSecond := make([]int, 61)
		for id, at := range b.begun {
			if len(at) < 5 || len(at) > 7 {
				t.Errorf("%s was probed %d times in six intervals", id, len(at))
			}
			for i, a := range at {
				perSecond[int(a.Sub(begin)/time.Second)]++
				if i > 0 && (a.Sub(at[i-1]) < 9*time.Second || a.Sub(at[i-1]) > 11*time.Second) {
					t.Errorf("%s: %v between probes, want 10 s but for the jitter", id, a.Sub(at[i-1]))
				}
			}
		}
		for second, n := range perSecond[:60] {
			if n < 50 || n > 160 {
				t.Errorf("%d probes in second %d, want about 100", n, second)
			}
		}
		l := b.meter.Counts().Lateness
		if l.Count < 5000 || l.Cumulative[0] != l.Count {
			t.Errorf("lateness %+v, want none", l)
		}
	})
}

func TestProbesUnderWayAreBoundedAndLatenessIsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Each takes its timeout of 2 s: four workers make 20 in an interval, of 100 that are due.
		b := &bench{takes: time.Hour}
		defer b.start(4)()
		b.Set(many(100))
		time.Sleep(60 * time.Second)
		synctest.Wait()
		b.mu.Lock()
		if b.most != 4 {
			t.Errorf("%d probes under way at once, want 4", b.most)
		}
		b.mu.Unlock()
		c := b.meter.Counts()
		l := c.Lateness
		if c.TCPPassed != 0 || c.TCPFailed == 0 || c.TCPFailed > 4*30 {
			t.Errorf("counts %+v, want only failures, two seconds each", c)
		}
		if at := l.Cumulative[len(l.Cumulative)-2]; at == l.Count || l.Sum == 0 {
			t.Errorf("lateness %+v, want some later than 10 s", l)
		}
	})
}

func TestAProbeThatDoesNotEndIsEndedByItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{takes: time.Hour}
		defer b.start(1)()
		b.Set([]probe.Target{target("a", func(t *probe.Target) { t.Check.Timeout = 3 * time.Second })})
		st, err := b.Now(t.Context(), "a")
		if err != nil || st.OK || st.Took != 3*time.Second {
			t.Errorf("Now = %+v, %v, want a failure after 3 s", st, err)
		}
	})
}

func TestANewIncarnationOrCheckStartsAnewAndOneThatIsGoneStops(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*probe.Target)
		anew   bool
	}{
		{"another incarnation", func(t *probe.Target) { t.Incarnation = 2 }, true},
		{"another check", func(t *probe.Target) { t.Check.HTTP = "/health" }, true},
		{"another port", func(t *probe.Target) { t.Check.Port = 81 }, true},
		{"another address", func(t *probe.Target) { t.Address = "10.0.0.2" }, true},
		{"nothing but a word of before", func(t *probe.Target) { t.Failing = true }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &bench{results: map[string][]bool{"a": {false}}}
				defer b.start(1)()
				b.Set([]probe.Target{target("a")})
				time.Sleep(21 * time.Second)
				synctest.Wait()
				b.Set([]probe.Target{target("a", tt.change)})
				var st *mesh.ProbeStatus
				b.Each(func(s *mesh.ProbeStatus) { st = s })
				if anew := st.InARow == 0 && st.At.IsZero(); anew != tt.anew {
					t.Errorf("status after the change: %+v, anew = %t, want %t", st, anew, tt.anew)
				}
				b.Set(nil)
				n := b.count()
				time.Sleep(time.Minute)
				synctest.Wait()
				if m := b.count(); m != n {
					t.Errorf("%d probes after the target was gone", m-n)
				}
				b.Each(func(s *mesh.ProbeStatus) { t.Errorf("still there: %+v", s) })
			})
		})
	}
}

func TestWhatAProbeFindsOfAnInstanceThatIsGoneIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{takes: time.Second}
		defer b.start(1)()
		b.Set([]probe.Target{target("a")})
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, err = b.Now(t.Context(), "a")
		}()
		synctest.Wait() // the probe is under way
		b.Set([]probe.Target{target("b")})
		<-done
		if !errors.Is(err, mesh.ErrNotFound) {
			t.Errorf("Now = %v, want ErrNotFound", err)
		}
		if said := b.said(); said != nil {
			t.Errorf("words %v, want none", said)
		}
		if _, err := b.Now(t.Context(), "a"); !errors.Is(err, mesh.ErrNotFound) {
			t.Errorf("Now of one that is not there = %v, want ErrNotFound", err)
		}
	})
}

func TestNowProbesOutOfTurnAndKeepsThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{takes: time.Second, results: map[string][]bool{"a": {false, true}}}
		defer b.start(2)()
		b.Set([]probe.Target{target("a")})
		begin := time.Now()
		st, err := b.Now(t.Context(), "a")
		if err != nil || st.OK || !st.At.Equal(begin) || st.Took != time.Second || st.InARow != 1 {
			t.Errorf("Now = %+v, %v, want a failure that began at once", st, err)
		}
		var shown mesh.ProbeStatus
		b.Each(func(s *mesh.ProbeStatus) { shown = *s })
		if diff := cmp.Diff(st, shown); diff != "" {
			t.Errorf("status (-told +shown):\n%s", diff)
		}
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if n := b.count(); n < 6 || n > 7 {
			t.Errorf("%d probes in six intervals, one of them asked for", n)
		}
	})
}

func TestNowDuringAProbeWaitsForTheNextOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{takes: time.Second, results: map[string][]bool{"a": {false, true}}}
		defer b.start(2)()
		b.Set([]probe.Target{target("a")})
		done := make(chan struct{})
		go func() { defer close(done); _, _ = b.Now(t.Context(), "a") }()
		synctest.Wait()
		begin := time.Now()
		st, err := b.Now(t.Context(), "a")
		<-done
		if err != nil || !st.OK || b.count() != 2 || st.At.Sub(begin) != time.Second {
			t.Errorf("Now = %+v, %v after %d probes, want what the second found, right behind the first", st, err, b.count())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := b.Now(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Now of a caller that leaves = %v", err)
		}
	})
}

func TestAProbeThatTheEndCutShortCountsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{takes: time.Second}
		stop := b.start(1)
		b.Set([]probe.Target{target("a", func(t *probe.Target) { t.Check.Down = 1 })})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		done := make(chan struct{})
		go func() { defer close(done); _, _ = b.Now(ctx, "a") }()
		synctest.Wait()
		stop()
		if said, c := b.said(), b.meter.Counts(); said != nil || c.TCPFailed != 0 {
			t.Errorf("words %v, counts %+v, want none", said, c)
		}
		cancel()
		<-done
	})
}

func TestATargetTellsWhatIsProbed(t *testing.T) {
	for _, tt := range []struct {
		check mesh.Check
		want  string
	}{
		{mesh.Check{}, "tcp [::1]:80"},
		{mesh.Check{HTTP: "/health", Port: 81}, "http://[::1]:81/health"},
		{mesh.Check{HTTP: "/health?a=b", TLS: true}, "https://[::1]:80/health?a=b"},
	} {
		tg := probe.Target{Address: "::1", Check: probe.Filled(tt.check, 80)}
		if got := tg.String(); got != tt.want {
			t.Errorf("String() = %q, want %q", got, tt.want)
		}
	}
	want := mesh.Check{Port: 80, Interval: mesh.CheckInterval, Timeout: mesh.CheckTimeout, Up: mesh.CheckUp, Down: mesh.CheckDown}
	if diff := cmp.Diff(want, probe.Filled(mesh.Check{}, 80)); diff != "" {
		t.Errorf("Filled (-want +got):\n%s", diff)
	}
}

// TestAMuteServiceKeepsNoOtherFromBeingProbed has 70 instances that never answer, each due each second.
func TestAMuteServiceKeepsNoOtherFromBeingProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{share: probe.Share(probe.Workers), hangs: "mute"}
		defer b.start(probe.Workers)()
		var targets []probe.Target
		for i := range 70 {
			targets = append(targets, target(fmt.Sprintf("mute-%d", i), func(t *probe.Target) {
				t.Service, t.Check.Interval, t.Check.Timeout = "mute", time.Second, time.Minute
			}))
		}
		b.Set(append(targets, target("a"), target("b", func(t *probe.Target) { t.Service = "MUTE" })))
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if n := b.count(); n < 5 {
			t.Errorf("the instance of another service was probed %d times in six intervals", n)
		}
		if old := b.OldestDue(); old < 57*time.Second || old > 59*time.Second {
			t.Errorf("the oldest due probe has waited for %v, want about a minute", old)
		}
		if b.most > 17 {
			t.Errorf("%d probes under way at once, want a quarter of the workers and one more", b.most)
		}
		if _, err := b.Now(t.Context(), "a"); err != nil {
			t.Errorf("Now of the other service: %v", err)
		}
		// Each has its turn, and what waited is dropped with its target.
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		b.mu.Lock()
		for i := range 70 {
			if id := fmt.Sprintf("mute-%d", i); len(b.begun[id]) == 0 {
				t.Errorf("%s was never probed", id)
			}
		}
		b.mu.Unlock()
		b.Set([]probe.Target{target("a")})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if old := b.OldestDue(); old != 0 {
			t.Errorf("the oldest due probe has waited for %v when nothing is late", old)
		}
	})
}

func TestAProbeThatNoWorkerIsFreeForGrowsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{takes: time.Hour}
		defer b.start(1)()
		b.Set([]probe.Target{target("a", func(t *probe.Target) { t.Check.Interval, t.Check.Timeout = time.Second, time.Minute }),
			target("b", func(t *probe.Target) {
				t.Service, t.Check.Interval, t.Check.Timeout = "other", time.Second, time.Minute
			})})
		time.Sleep(40 * time.Second)
		synctest.Wait()
		if old := b.OldestDue(); old < 38*time.Second {
			t.Errorf("the oldest due probe has waited for %v, want nearly 40 s", old)
		}
	})
}
