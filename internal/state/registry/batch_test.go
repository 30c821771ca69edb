package registry_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// limited is a store that refuses some transactions.
type limited struct {
	registry.Store
	refuse func(registry.Txn) error

	mu       sync.Mutex // guards what follows
	accepted []int      // the bytes of each transaction
}

func (l *limited) Commit(ctx context.Context, txn registry.Txn) (mesh.Revision, error) {
	if err := l.refuse(txn); err != nil {
		return mesh.Revision{}, err
	}
	l.mu.Lock()
	l.accepted = append(l.accepted, bytesOf(txn))
	l.mu.Unlock()
	return l.Store.Commit(ctx, txn)
}

func bytesOf(txn registry.Txn) int {
	n := len(txn.Journal)
	for _, w := range txn.Writes {
		n += len(w.Key) + len(w.Data)
	}
	return n
}

// loseAll opens a session of n large instances, each of a service of its own, and loses all of them.
func loseAll(t *testing.T, r *running, n int) {
	t.Helper()
	var sessions []mesh.Session
	for i := range n {
		reg := web(fmt.Sprintf("i%03d", i))
		reg.Service = fmt.Sprintf("s%03d", i)
		reg.Metadata = map[string]string{"k": strings.Repeat("x", 60<<10)}
		s, err := r.Open(service(t), reg, 0)
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	for _, s := range sessions {
		s.Close(true)
	}
	advance(mesh.SessionGrace)
}

// stored returns the health of each stored instance.
func stored(t *testing.T, store registry.Store) map[string]mesh.Health {
	t.Helper()
	_, values, err := store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]mesh.Health)
	for _, v := range values {
		rec, err := registry.Decode(v.Data)
		if err != nil {
			t.Fatal(err)
		}
		out[rec.ID] = rec.Health
	}
	return out
}

func TestManyLargeVerdictsFitTheStoresRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 3 << 19 // what the engine takes in one request
		store := &limited{Store: memory.NewStore(), refuse: func(txn registry.Txn) error {
			if bytesOf(txn) > limit {
				return &mesh.Error{Kind: mesh.ErrTooLarge, Code: mesh.CodeTooLarge, Detail: "too large"}
			}
			return nil
		}}
		r := start(t, store)
		loseAll(t, r, 40)
		for id, h := range stored(t, store) {
			if h != mesh.Failing {
				t.Errorf("%s is stored as %s, want failing", id, h)
			}
		}
		if n := len(store.accepted) - 40; n < 3 || n > 4 {
			t.Errorf("40 verdicts of 60 KiB took %d transactions, want about a MiB in each", n)
		}
	})
}

func TestOneVerdictThatTheStoreRefusesDoesNotHinderTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		store := &limited{Store: memory.NewStore(), refuse: func(txn registry.Txn) error {
			for _, w := range txn.Writes {
				if w.Key == "instance/i003" && time.Since(began) > 0 { // its registration was accepted
					return errors.New("no such luck")
				}
			}
			return nil
		}}
		r := start(t, store)
		loseAll(t, r, 8)
		for id, h := range stored(t, store) {
			if failing := h == mesh.Failing; failing == (id == "i003") {
				t.Errorf("%s is stored as %s", id, h)
			}
		}
		wantHealth(t, r, "i003", "failing")
	})
}

func TestAFullStoreIsStillToldOfRemovals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		store := &limited{Store: memory.NewStore(), refuse: func(txn registry.Txn) error {
			for _, w := range txn.Writes {
				if w.Data != nil && time.Since(began) > 0 {
					return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeStoreFull, Detail: "full"}
				}
			}
			return nil
		}}
		r := start(t, store)
		openSession(t, r, "held", 0)
		register(t, r, web("leased"))
		advance(mesh.LeaseTTL)
		wantHealth(t, r, "held", "gone")
		wantHealth(t, r, "leased", "failing")
		if all := stored(t, store); len(all) != 1 {
			t.Errorf("stored are %v, want the leased instance alone", all)
		}
	})
}

func TestManyOverlaidInstancesArePublishedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFlaky(memory.NewStore())
		r := start(t, store)
		var sessions []mesh.Session
		for i := range 50 {
			reg := web(fmt.Sprintf("i%03d", i))
			reg.Service = fmt.Sprintf("s%03d", i)
			s, err := r.Open(service(t), reg, 0)
			if err != nil {
				t.Fatal(err)
			}
			sessions = append(sessions, s)
		}
		store.setDown()
		synctest.Wait()
		published := publications(t, r)
		for _, s := range sessions {
			s.Close(true)
		}
		advance(mesh.SessionGrace)
		wantHealth(t, r, "i049", "failing")
		if n := published(); n != 1 {
			t.Errorf("50 instances were overlaid in %d publications, want 1", n)
		}
	})
}

func TestWaitingCommitsArePublishedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := memory.NewStore()
		store := &gated{Store: inner, open: make(chan struct{})}
		r := start(t, store)
		for i := range 50 {
			data, err := registry.Encode(registry.Record{ID: fmt.Sprintf("i%d", i), Service: "web", Address: "10.0.0.1", Port: 1,
				Lifetime: mesh.Permanent, Node: "other"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := inner.Commit(t.Context(), registry.Txn{Writes: []registry.Write{{Key: fmt.Sprintf("instance/i%d", i), Data: data}}}); err != nil {
				t.Fatal(err)
			}
		}
		published := publications(t, r)
		close(store.open)
		synctest.Wait()
		wantHealth(t, r, "i49", "passing")
		if n := published(); n > 25 {
			t.Errorf("50 waiting commits took %d publications, want them together", n)
		}
	})
}

// gated is a store whose watch begins when it is opened.
type gated struct {
	registry.Store
	open chan struct{}
}

func (g *gated) Watch(ctx context.Context, after mesh.Revision) iter.Seq2[registry.Commit, error] {
	return func(yield func(registry.Commit, error) bool) {
		select {
		case <-g.open:
		case <-ctx.Done():
			return
		}
		g.Store.Watch(ctx, after)(yield)
	}
}

// publications counts the snapshots that are published from now on.
func publications(t *testing.T, r *running) func() int {
	t.Helper()
	before := r.Stats().Published
	return func() int { return int(r.Stats().Published - before) }
}
