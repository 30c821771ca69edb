// Package registrytest is the contract of registry.Store as a test, which every backend runs.
package registrytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Compacter is offered by stores whose history can be cut on demand: all before the given revision.
type Compacter interface {
	Compact(ctx context.Context, before mesh.Revision) error
}

// patience bounds each wait of the suite.
const patience = 10 * time.Second

// TestStore runs the contract against stores that open makes: fresh and empty ones, closed by the
// test's cleanup.
func TestStore(t *testing.T, open func(testing.TB) registry.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, registry.Store)
	}{
		{"a fresh store loads nothing at a revision with an epoch", testEmpty},
		{"what was committed is loaded with the revision of its commit", testLoad},
		{"a write on a wrong condition is a conflict and changes nothing", testConflict},
		{"a transaction is applied whole or not at all", testAtomic},
		{"a deleted key is gone and may be made again", testDelete},
		{"a transaction over the limits is refused", testLimits},
		{"revisions rise across deletions", testRising},
		{"a watch yields each commit in order without gaps", testWatch},
		{"a watch goes on from the revision that was seen", testResume},
		{"a watch delivers the journal entry and the deletions", testJournal},
		{"a watch of a compacted revision is not found", testCompacted},
		{"a watch of another epoch is not found", testEpoch},
		{"a watch of a revision to come is not found", testFuture},
		{"a watch ends without an error when its context ends", testCancel},
		{"a call whose context has ended returns an error", testEnded},
		{"of concurrent committers on one key exactly one wins each round", testRaces},
		{"a load contains every commit that was acknowledged before it", testLinear},
		{"values handed in and out are the store's own", testOwnership},
		{"another registry on the store reads each word on an instance's health", testWords},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func put(key, data string, cond uint64) registry.Txn {
	return registry.Txn{Journal: []byte("put " + key),
		Writes: []registry.Write{{Key: key, Data: []byte(data), If: cond}}}
}

func commit(t *testing.T, s registry.Store, txn registry.Txn) mesh.Revision {
	t.Helper()
	rev, err := s.Commit(t.Context(), txn)
	if err != nil {
		t.Fatalf("Commit(%q) = %v", txn.Journal, err)
	}
	return rev
}

func load(t *testing.T, s registry.Store) (mesh.Revision, map[string]registry.Value) {
	t.Helper()
	rev, values, err := s.Load(t.Context())
	if err != nil {
		t.Fatalf("Load() = %v", err)
	}
	m := make(map[string]registry.Value)
	for _, v := range values {
		m[v.Key] = v
	}
	if len(m) != len(values) {
		t.Errorf("Load() returned %d values of %d keys", len(values), len(m))
	}
	return rev, m
}

// take reads n commits of a watch.
func take(t *testing.T, s registry.Store, after mesh.Revision, n int) []registry.Commit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out []registry.Commit
	for c, err := range s.Watch(ctx, after) {
		if err != nil {
			t.Fatalf("Watch(%s): %v", after, err)
		}
		if out = append(out, c); len(out) == n {
			return out
		}
	}
	t.Fatalf("Watch(%s) ended after %d of %d commits", after, len(out), n)
	return nil
}

func testEmpty(t *testing.T, s registry.Store) {
	rev, values := load(t, s)
	if rev.Epoch == 0 || len(values) != 0 {
		t.Errorf("Load() = %s, %v, want an epoch and no values", rev, values)
	}
}

func testLoad(t *testing.T, s registry.Store) {
	a := commit(t, s, put("instance/a", "one", 0))
	b := commit(t, s, put("instance/b", "two", 0))
	rev, got := load(t, s)
	want := map[string]registry.Value{
		"instance/a": {Key: "instance/a", Data: []byte("one"), Revision: a},
		"instance/b": {Key: "instance/b", Data: []byte("two"), Revision: b},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Load() (-want +got):\n%s", d)
	}
	if rev.Before(b) {
		t.Errorf("Load() is at %s, before the commit %s", rev, b)
	}
}

func testConflict(t *testing.T, s registry.Store) {
	first := commit(t, s, put("k", "one", 0))
	second := commit(t, s, put("k", "two", first.Number))
	for _, cond := range []uint64{0, first.Number, second.Number + 1} {
		if rev, err := s.Commit(t.Context(), put("k", "three", cond)); !errors.Is(err, mesh.ErrConflict) {
			t.Errorf("Commit(If: %d) = %s, %v, want ErrConflict", cond, rev, err)
		}
	}
	if _, err := s.Commit(t.Context(), put("other", "x", 7)); !errors.Is(err, mesh.ErrConflict) {
		t.Errorf("Commit on a key that is not there = %v, want ErrConflict", err)
	}
	if _, got := load(t, s); string(got["k"].Data) != "two" || len(got) != 1 {
		t.Errorf("Load() = %v after refused writes, want k = two", got)
	}
	if got := take(t, s, first, 1); got[0].Revision != second {
		t.Errorf("a watcher saw %v", got)
	}
}

func testAtomic(t *testing.T, s registry.Store) {
	rev := commit(t, s, put("a", "1", 0))
	txn := registry.Txn{Journal: []byte("both"), Writes: []registry.Write{
		{Key: "b", Data: []byte("2")},
		{Key: "a", Data: []byte("3"), If: rev.Number + 1},
	}}
	if _, err := s.Commit(t.Context(), txn); !errors.Is(err, mesh.ErrConflict) {
		t.Fatalf("Commit = %v, want ErrConflict", err)
	}
	if _, got := load(t, s); len(got) != 1 || string(got["a"].Data) != "1" {
		t.Errorf("Load() = %v, half a transaction was applied", got)
	}
	txn.Writes[1].If = rev.Number
	both := commit(t, s, txn)
	_, got := load(t, s)
	if got["a"].Revision != both || got["b"].Revision != both {
		t.Errorf("Load() = %v, want both at %s", got, both)
	}
}

func testDelete(t *testing.T, s registry.Store) {
	rev := commit(t, s, put("k", "one", 0))
	commit(t, s, registry.Txn{Journal: []byte("delete"), Writes: []registry.Write{{Key: "k", If: rev.Number}}})
	if _, got := load(t, s); len(got) != 0 {
		t.Errorf("Load() = %v after the deletion", got)
	}
	if _, err := s.Commit(t.Context(), put("k", "two", rev.Number)); !errors.Is(err, mesh.ErrConflict) {
		t.Errorf("a write on the deleted value = %v, want ErrConflict", err)
	}
	commit(t, s, put("k", "three", 0))
}

func testLimits(t *testing.T, s registry.Store) {
	var most registry.Txn
	for i := range 100 {
		most.Writes = append(most.Writes, registry.Write{Key: fmt.Sprintf("k%03d", i), Data: []byte("x")})
	}
	most.Journal = []byte("most")
	commit(t, s, most)
	over := registry.Txn{Journal: []byte("over")}
	for i := range 101 {
		over.Writes = append(over.Writes, registry.Write{Key: fmt.Sprintf("l%03d", i), Data: []byte("x")})
	}
	if _, err := s.Commit(t.Context(), over); !errors.Is(err, mesh.ErrInvalid) {
		t.Errorf("a transaction of 101 writes = %v, want ErrInvalid", err)
	}
	twice := registry.Txn{Writes: []registry.Write{{Key: "m", Data: []byte("x")}, {Key: "m", Data: []byte("y")}}}
	if _, err := s.Commit(t.Context(), twice); !errors.Is(err, mesh.ErrInvalid) {
		t.Errorf("a transaction that writes a key twice = %v, want ErrInvalid", err)
	}
}

func testRising(t *testing.T, s registry.Store) {
	last, _ := load(t, s)
	for range 5 {
		made := commit(t, s, put("k", "v", 0))
		deleted := commit(t, s, registry.Txn{Journal: []byte("d"), Writes: []registry.Write{{Key: "k", If: made.Number}}})
		if !last.Before(made) || !made.Before(deleted) || made.Epoch != last.Epoch {
			t.Fatalf("revisions %s, %s, %s do not rise", last, made, deleted)
		}
		last = deleted
	}
}

func testWatch(t *testing.T, s registry.Store) {
	start, _ := load(t, s)
	const n = 200
	var want []mesh.Revision
	var wg sync.WaitGroup
	var got []registry.Commit
	wg.Go(func() { got = take(t, s, start, n) })
	for i := range n {
		want = append(want, commit(t, s, put(fmt.Sprintf("k%d", i), "v", 0)))
	}
	wg.Wait()
	for i, c := range got {
		if c.Revision != want[i] || len(c.Changes) != 1 || c.Changes[0].Key != fmt.Sprintf("k%d", i) {
			t.Fatalf("commit %d is %+v, want revision %s", i, c, want[i])
		}
	}
}

func testResume(t *testing.T, s registry.Store) {
	start, _ := load(t, s)
	a := commit(t, s, put("a", "1", 0))
	b := commit(t, s, put("b", "2", 0))
	c := commit(t, s, put("c", "3", 0))
	for i, from := range []mesh.Revision{start, a, b} {
		got := take(t, s, from, 3-i)
		if want := []mesh.Revision{a, b, c}[i]; got[0].Revision != want {
			t.Errorf("Watch(%s) begins at %s, want %s", from, got[0].Revision, want)
		}
	}
}

func testJournal(t *testing.T, s registry.Store) {
	start, _ := load(t, s)
	made := commit(t, s, registry.Txn{Journal: []byte("made"), Writes: []registry.Write{
		{Key: "a", Data: []byte("1")}, {Key: "b", Data: []byte("2")}}})
	gone := commit(t, s, registry.Txn{Journal: []byte("gone"), Writes: []registry.Write{{Key: "a", If: made.Number}}})
	got := take(t, s, start, 2)
	for i := range got {
		slices.SortFunc(got[i].Changes, func(x, y registry.Value) int { return strings.Compare(x.Key, y.Key) })
	}
	want := []registry.Commit{
		{Revision: made, Journal: []byte("made"), Changes: []registry.Value{
			{Key: "a", Data: []byte("1"), Revision: made}, {Key: "b", Data: []byte("2"), Revision: made}}},
		{Revision: gone, Journal: []byte("gone"), Changes: []registry.Value{{Key: "a", Revision: gone}}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Watch (-want +got):\n%s", d)
	}
	if got[1].Changes[0].Data != nil {
		t.Error("a deletion has data that is not nil")
	}
	if _, values := load(t, s); len(values) != 1 {
		t.Errorf("Load() = %v, want b alone: the journal is no value", values)
	}
}

func testCompacted(t *testing.T, s registry.Store) {
	c, ok := s.(Compacter)
	if !ok {
		t.Skip("this store cannot be compacted on demand: give it a Compact method to have this tested")
	}
	start, _ := load(t, s)
	var last mesh.Revision
	for i := range 5 {
		last = commit(t, s, put(fmt.Sprintf("k%d", i), "v", 0))
	}
	if err := c.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	wantNotFound(t, s, start)
	next := commit(t, s, put("next", "v", 0))
	if got := take(t, s, last, 1); got[0].Revision != next {
		t.Errorf("after a compaction Watch(%s) yields %s, want %s", last, got[0].Revision, next)
	}
}

func testEpoch(t *testing.T, s registry.Store) {
	rev := commit(t, s, put("k", "v", 0))
	wantNotFound(t, s, mesh.Revision{Epoch: rev.Epoch + 1, Number: rev.Number})
	wantNotFound(t, s, mesh.Revision{Epoch: rev.Epoch - 1, Number: rev.Number})
	wantNotFound(t, s, mesh.Revision{})
}

func testFuture(t *testing.T, s registry.Store) {
	rev := commit(t, s, put("k", "v", 0))
	wantNotFound(t, s, mesh.Revision{Epoch: rev.Epoch, Number: rev.Number + 1000})
}

func wantNotFound(t *testing.T, s registry.Store, after mesh.Revision) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for c, err := range s.Watch(ctx, after) {
		if !errors.Is(err, mesh.ErrNotFound) {
			t.Errorf("Watch(%s) = %+v, %v, want ErrNotFound", after, c, err)
		}
		return
	}
	t.Errorf("Watch(%s) ended without an error, want ErrNotFound", after)
}

func testCancel(t *testing.T, s registry.Store) {
	start, _ := load(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	commit(t, s, put("k", "v", 0))
	ended := make(chan error, 1)
	seen := make(chan struct{}, 1)
	go func() {
		for _, err := range s.Watch(ctx, start) {
			if err != nil {
				ended <- err
				return
			}
			seen <- struct{}{}
		}
		ended <- nil
	}()
	<-seen
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Watch ended with %v, want no error", err)
		}
	case <-time.After(patience):
		t.Error("Watch goes on after its context ended")
	}
}

func testEnded(t *testing.T, s registry.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Commit(ctx, put("k", "v", 0)); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit = %v, want context.Canceled", err)
	}
	if _, _, err := s.Load(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Load = %v, want context.Canceled", err)
	}
}

func testRaces(t *testing.T, s registry.Store) {
	const writers, rounds = 8, 10
	cond := uint64(0)
	for round := range rounds {
		revs := make([]mesh.Revision, writers)
		errs := make([]error, writers)
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				revs[w], errs[w] = s.Commit(t.Context(), put("k", fmt.Sprintf("%d by %d", round, w), cond))
			})
		}
		wg.Wait()
		winner := -1
		for w, err := range errs {
			switch {
			case err == nil && winner < 0:
				winner = w
			case err == nil:
				t.Fatalf("round %d: %d and %d both won", round, winner, w)
			case !errors.Is(err, mesh.ErrConflict):
				t.Fatalf("round %d: %v", round, err)
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody won", round)
		}
		_, got := load(t, s)
		if v := got["k"]; v.Revision != revs[winner] || string(v.Data) != fmt.Sprintf("%d by %d", round, winner) {
			t.Fatalf("round %d: the value is %q at %s, won by %d at %s", round, v.Data, v.Revision, winner, revs[winner])
		}
		cond = revs[winner].Number
	}
}

// testLinear lets writers and loaders run against each other: each load is at a revision, and holds
// exactly the commits that a watcher saw up to that revision.
func testLinear(t *testing.T, s registry.Store) {
	const writers, each = 4, 25
	start, _ := load(t, s)
	type loaded struct {
		rev    mesh.Revision
		values map[string]registry.Value
		acked  mesh.Revision
	}
	var (
		mu    sync.Mutex
		acked mesh.Revision
		loads []loaded
		wg    sync.WaitGroup
	)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				rev, err := s.Commit(t.Context(), put(fmt.Sprintf("w%d/%d", w, i), "v", 0))
				if err != nil {
					t.Errorf("Commit = %v", err)
					return
				}
				mu.Lock()
				if acked.Before(rev) {
					acked = rev
				}
				before := acked
				mu.Unlock()
				if i%5 != 0 {
					continue
				}
				at, list, err := s.Load(t.Context())
				if err != nil {
					t.Errorf("Load = %v", err)
					return
				}
				l := loaded{rev: at, values: map[string]registry.Value{}, acked: before}
				for _, v := range list {
					l.values[v.Key] = v
				}
				mu.Lock()
				loads = append(loads, l)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	commits := take(t, s, start, writers*each)
	for _, l := range loads {
		want := map[string]registry.Value{}
		for _, c := range commits {
			if !l.rev.Before(c.Revision) {
				want[c.Changes[0].Key] = c.Changes[0]
			}
		}
		if d := cmp.Diff(want, l.values); d != "" {
			t.Fatalf("Load at %s (-want +got):\n%s", l.rev, d)
		}
		if l.rev.Before(l.acked) {
			t.Fatalf("Load at %s is before %s, acknowledged earlier", l.rev, l.acked)
		}
	}
}

func testOwnership(t *testing.T, s registry.Store) {
	start, _ := load(t, s)
	data := []byte("one")
	commit(t, s, registry.Txn{Journal: []byte("j"), Writes: []registry.Write{{Key: "k", Data: data}}})
	copy(data, "xxx")
	_, got := load(t, s)
	copy(got["k"].Data, "yyy")
	_, again := load(t, s)
	if !bytes.Equal(again["k"].Data, []byte("one")) {
		t.Errorf("Load() = %q after callers wrote into their slices", again["k"].Data)
	}
	if c := take(t, s, start, 1); string(c[0].Changes[0].Data) != "one" {
		t.Errorf("Watch yields %q after callers wrote into their slices", c[0].Changes[0].Data)
	}
}

// TestDurable runs the contract of stores that outlive their process: openAt opens what dir holds, and
// its second result closes it.
func TestDurable(t *testing.T, openAt func(t testing.TB, dir string) (registry.Store, func())) {
	t.Helper()
	t.Run("what was acknowledged is there after a restart", func(t *testing.T) {
		dir := t.TempDir()
		s, closeStore := openAt(t, dir)
		a := commit(t, s, put("a", "1", 0))
		b := commit(t, s, put("b", "2", 0))
		commit(t, s, registry.Txn{Journal: []byte("d"), Writes: []registry.Write{{Key: "b", If: b.Number}}})
		before, values := load(t, s)
		closeStore()

		s, closeStore = openAt(t, dir)
		defer closeStore()
		after, again := load(t, s)
		if d := cmp.Diff(values, again); d != "" {
			t.Errorf("values before and after the restart (-before +after):\n%s", d)
		}
		if after.Before(before) || after.Epoch != before.Epoch {
			t.Errorf("the revision went from %s to %s", before, after)
		}
		if got := take(t, s, a, 2); got[0].Revision != b {
			t.Errorf("a watch across the restart begins at %s, want %s", got[0].Revision, b)
		}
		if rev := commit(t, s, put("a", "3", a.Number)); !before.Before(rev) {
			t.Errorf("a commit after the restart is at %s, not after %s", rev, before)
		}
	})
	t.Run("each word on an instance's health is there after a restart", func(t *testing.T) {
		dir := t.TempDir()
		s, closeStore := openAt(t, dir)
		want := speak(t, s)
		closeStore()
		s, closeStore = openAt(t, dir)
		defer closeStore()
		sameWords(t, s, want)
	})
	t.Run("two stores have different epochs", func(t *testing.T) {
		one, closeOne := openAt(t, t.TempDir())
		defer closeOne()
		two, closeTwo := openAt(t, t.TempDir())
		defer closeTwo()
		a, _ := load(t, one)
		b, _ := load(t, two)
		if a.Epoch == b.Epoch {
			t.Errorf("both stores are of epoch %d", a.Epoch)
		}
	})
}
