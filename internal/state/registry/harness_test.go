package registry_test

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const node = "node-1"

// running is a registry whose Run goes on until stop or the end of the test.
type running struct {
	*registry.Registry
	store registry.Store
	stop  func()
}

// start runs a registry on the store and returns when it is ready.
func start(tb testing.TB, store registry.Store) *running {
	tb.Helper()
	return startWith(tb, registry.Config{NodeID: node}, store)
}

func startWith(tb testing.TB, cfg registry.Config, store registry.Store) *running {
	tb.Helper()
	reg, err := registry.New(cfg, store)
	if err != nil {
		tb.Fatal(err)
	}
	return run(tb, reg, store)
}

func run(tb testing.TB, reg *registry.Registry, store registry.Store) *running {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan struct{})
	done := make(chan error, 1)
	go func() { done <- reg.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		tb.Fatalf("Run = %v", err)
	}
	r := &running{Registry: reg, store: store}
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("Run = %v", err)
		}
	}
	tb.Cleanup(r.stop)
	return r
}

// bubble runs a test with its own clock, on a fresh registry in memory.
func bubble(t *testing.T, test func(*testing.T, *running)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, start(t, memory.NewStore()))
	})
}

// as returns a context of a service caller at the address.
func as(tb testing.TB, role identity.Role, addr string) context.Context {
	tb.Helper()
	c := identity.Caller{Role: role}
	if addr != "" {
		c.Addr = netip.MustParseAddr(addr)
	}
	return identity.NewContext(tb.Context(), c)
}

func service(tb testing.TB) context.Context {
	tb.Helper()
	return as(tb, identity.Service, "10.0.0.9")
}

func web(id string) mesh.Registration {
	return mesh.Registration{Service: "web", ID: id, Address: "10.0.0.1", Port: 8080, Lifetime: mesh.Leased}
}

func register(tb testing.TB, r *running, reg mesh.Registration) mesh.Instance {
	tb.Helper()
	inst, err := r.Register(service(tb), reg)
	if err != nil {
		tb.Fatalf("Register(%s) = %v", reg.ID, err)
	}
	return inst
}

func openSession(tb testing.TB, r *running, id string, resume uint64) mesh.Session {
	tb.Helper()
	s, err := r.Open(service(tb), web(id), resume)
	if err != nil {
		tb.Fatalf("Open(%s, %d) = %v", id, resume, err)
	}
	return s
}

// healthOf returns the health of an instance as the word, or "gone".
func healthOf(tb testing.TB, r *running, id string) string {
	tb.Helper()
	inst, err := r.Instance(tb.Context(), id)
	if errors.Is(err, mesh.ErrNotFound) {
		return "gone"
	}
	if err != nil {
		tb.Fatal(err)
	}
	return inst.Health.String()
}

func wantHealth(tb testing.TB, r *running, id, want string) {
	tb.Helper()
	synctest.Wait()
	if got := healthOf(tb, r, id); got != want {
		tb.Errorf("%s is %s, want %s", id, got, want)
	}
}

func revision(tb testing.TB, r *running) mesh.Revision {
	tb.Helper()
	s, err := r.Snapshot(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return s.Revision
}

// journalOf returns the entries of all commits after the revision.
func journalOf(tb testing.TB, store registry.Store, after mesh.Revision, n int) []registry.Entry {
	tb.Helper()
	var out []registry.Entry
	if n == 0 {
		return nil
	}
	for c, err := range store.Watch(tb.Context(), after) {
		if err != nil {
			tb.Fatal(err)
		}
		e, err := registry.DecodeEntry(c.Journal)
		if err != nil {
			tb.Fatalf("journal entry %q: %v", c.Journal, err)
		}
		if out = append(out, e); len(out) == n {
			break
		}
	}
	return out
}

func fieldsOf(err error) []string {
	var e *mesh.Error
	if !errors.As(err, &e) {
		return nil
	}
	var out []string
	for _, f := range e.Fields {
		out = append(out, f.Field)
	}
	slices.Sort(out)
	return out
}

// flaky is a store that can be made unavailable.
type flaky struct {
	registry.Store
	mu   sync.Mutex
	down context.Context // ends when the store goes down
	fall context.CancelFunc
}

func newFlaky(store registry.Store) *flaky {
	f := &flaky{Store: store}
	f.setUp()
	return f
}

func (f *flaky) setUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down, f.fall = context.WithCancel(context.Background())
}

func (f *flaky) setDown() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fall()
}

func (f *flaky) state() context.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down
}

func errDown() error {
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeStoreNoQuorum, Detail: "down"}
}

func (f *flaky) Load(ctx context.Context) (mesh.Revision, []registry.Value, error) {
	if f.state().Err() != nil {
		return mesh.Revision{}, nil, errDown()
	}
	return f.Store.Load(ctx)
}

func (f *flaky) Commit(ctx context.Context, txn registry.Txn) (mesh.Revision, error) {
	if f.state().Err() != nil {
		return mesh.Revision{}, errDown()
	}
	return f.Store.Commit(ctx, txn)
}

func (f *flaky) Watch(ctx context.Context, after mesh.Revision) iter.Seq2[registry.Commit, error] {
	return func(yield func(registry.Commit, error) bool) {
		down := f.state()
		ctx, cancel := context.WithCancel(ctx)
		defer context.AfterFunc(down, cancel)()
		for c, err := range f.Store.Watch(ctx, after) {
			if !yield(c, err) {
				return
			}
		}
		if down.Err() != nil {
			yield(registry.Commit{}, errDown())
		}
	}
}

// advance lets time pass in a bubble.
func advance(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
