package probe_test

import (
	stdcmp "cmp"
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/toska-mesh/toska-mesh/internal/signal/probe"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// bench is a scheduler in a bubble, with a prober that says what it is told to.
type bench struct {
	*probe.Scheduler
	meter probe.Meter
	share int    // of the workers for one service; 0: all of them
	hangs string // the service whose probes never end
	// results in turn, the last for ever; guarded by mu, as all below
	mu      sync.Mutex
	results map[string][]bool
	takes   time.Duration
	begun   map[string][]time.Time
	under   int
	most    int
	words   []string
}

// Probe implements probe.Prober.
func (b *bench) Probe(ctx context.Context, t *probe.Target) probe.Result {
	b.mu.Lock()
	b.begun[t.ID] = append(b.begun[t.ID], time.Now())
	b.under++
	b.most = max(b.most, b.under)
	ok, takes := true, b.takes
	if rest := b.results[t.ID]; len(rest) > 0 {
		if ok = rest[0]; len(rest) > 1 {
			b.results[t.ID] = rest[1:]
		}
	}
	if b.hangs != "" && t.Service == b.hangs {
		takes = time.Hour
	}
	b.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		ok = false
	}
	b.mu.Lock()
	b.under--
	b.mu.Unlock()
	return probe.Result{OK: ok, Output: fmt.Sprint("ok ", ok)}
}

// start runs a scheduler; what is returned stops it.
func (b *bench) start(workers int) (stop func()) {
	if b.results == nil {
		b.results = map[string][]bool{}
	}
	b.begun = map[string][]time.Time{}
	b.Scheduler = probe.New(b, &b.meter, stdcmp.Or(b.share, workers), func(t probe.Target, r mesh.Report) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.words = append(b.words, fmt.Sprintf("%s/%d %v", t.ID, t.Incarnation, r.Health))
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = b.Schedule(ctx) })
	for range workers {
		wg.Go(func() { _ = b.Work(ctx) })
	}
	return func() { cancel(); wg.Wait() }
}

func (b *bench) said() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.words...)
}

// count is how often a was probed.
func (b *bench) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.begun["a"])
}

func target(id string, change ...func(*probe.Target)) probe.Target {
	t := probe.Target{Service: "web", ID: id, Incarnation: 1, Address: "10.0.0.1", Check: probe.Filled(mesh.Check{}, 80)}
	for _, f := range change {
		f(&t)
	}
	return t
}

func TestAWordTakesItsThresholdBothWays(t *testing.T) {
	const x, v = false, true
	for _, tt := range []struct {
		name    string
		failing bool
		results []bool
		want    []string
	}{
		{"the first success speaks at once", false, []bool{v, v, v}, []string{"a/1 passing"}},
		{"failures below the threshold say nothing", false, []bool{x, x, v, x, x, v}, []string{"a/1 passing"}},
		{"three failures in a row make it failing", false, []bool{v, x, x, x, x}, []string{"a/1 passing", "a/1 failing"}},
		{"one success does not make it passing again", false, []bool{x, x, x, v, x, v, x}, []string{"a/1 failing"}},
		{"two successes do", false, []bool{x, x, x, v, x, v, v}, []string{"a/1 failing", "a/1 passing"}},
		{"a word from before holds until two successes", true, []bool{v, x, v, v}, []string{"a/1 passing"}},
		{"a failing word from before is not said again", true, []bool{x, x, x, x}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &bench{results: map[string][]bool{"a": tt.results}}
				defer b.start(1)()
				b.Set([]probe.Target{target("a", func(t *probe.Target) { t.Failing = tt.failing })})
				for b.count() < len(tt.results) {
					time.Sleep(time.Second)
				}
				synctest.Wait()
				if diff := cmp.Diff(tt.want, b.said()); diff != "" {
					t.Errorf("words (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// Whatever the results are, the word changes exactly when a row of the threshold's length ends.
func TestWordsFollowTheRowsOfResults(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		results := rapid.SliceOfN(rapid.Bool(), 1, 30).Draw(rt, "results")
		up, down := rapid.IntRange(1, 4).Draw(rt, "up"), rapid.IntRange(1, 4).Draw(rt, "down")
		var got []string
		synctest.Test(t, func(*testing.T) {
			b := &bench{results: map[string][]bool{"a": append([]bool(nil), results...)}}
			defer b.start(1)()
			b.Set([]probe.Target{target("a", func(t *probe.Target) { t.Check.Up, t.Check.Down = up, down })})
			for range results {
				if _, err := b.Now(context.Background(), "a"); err != nil {
					rt.Fatal(err)
				}
			}
			synctest.Wait()
			// What was asked for came first: the turns of the interval came after all of it, or were in it.
			got = b.said()
		})
		if want := expected(results, up, down); cmp.Diff(want, got) != "" {
			rt.Errorf("words of %v with up %d, down %d: %v, want %v", results, up, down, got, want)
		}
	})
}

// expected counts the rows anew for each result.
func expected(results []bool, up, down int) []string {
	var out []string
	word := ""
	for i, ok := range results {
		row := 1
		for j := i - 1; j >= 0 && results[j] == ok; j-- {
			row++
		}
		said := word
		switch {
		case ok && (row >= up || word == ""):
			said = "a/1 passing"
		case !ok && row >= down:
			said = "a/1 failing"
		}
		if said != word {
			out, word = append(out, said), said
		}
	}
	return out
}
