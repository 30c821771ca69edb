package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/backend/etcd"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// serve runs a registry on the store until the returned function is called.
func serve(tb testing.TB, store registry.Store) (*registry.Registry, func()) {
	tb.Helper()
	reg, err := registry.New(registry.Config{NodeID: "n1", Log: logTo(tb)}, store)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan struct{})
	var wg sync.WaitGroup
	var runErr error
	wg.Go(func() { runErr = reg.Run(ctx, sync.OnceFunc(func() { close(ready) })) })
	<-ready
	return reg, sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if runErr != nil {
			tb.Errorf("Run = %v", runErr)
		}
	})
}

func caller(tb testing.TB) context.Context {
	tb.Helper()
	return identity.NewContext(tb.Context(), identity.Caller{Role: identity.Service})
}

func instance(id string) mesh.Registration {
	return mesh.Registration{Service: "web", ID: id, Address: "10.0.0.1", Port: 8080, Lifetime: mesh.Leased}
}

func TestAFlippedBitIsQuarantinedAcrossARestart(t *testing.T) { // D-5
	dir := filepath.Join(t.TempDir(), "store")
	e := openIn(t, dir)
	reg, stop := serve(t, e.Store())
	for _, id := range []string{"good", "bad"} {
		if _, err := reg.Register(caller(t), instance(id)); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	closeEngine(t, e)
	flipped := 0
	rewrite(t, filepath.Join(dir, "member", "snap", "db"), func(b []byte) []byte {
		for i, at := 0, 0; at >= 0; i += at + 1 {
			if at = strings.Index(string(b[i:]), `{"id":"bad"`); at >= 0 {
				b[i+at+len(`{"id":"bad","ser`)] ^= 1
				flipped++
			}
		}
		return b
	})
	if flipped == 0 {
		t.Fatal("the record is not in the file")
	}
	reg, stop = serve(t, openIn(t, dir).Store())
	defer stop()
	if _, err := reg.Instance(t.Context(), "good"); err != nil {
		t.Errorf("the undamaged record is not served: %v", err)
	}
	if _, err := reg.Instance(t.Context(), "bad"); !errors.Is(err, mesh.ErrNotFound) {
		t.Errorf("the damaged record is served: %v", err)
	}
	if d := reg.Stats().Damaged; len(d) != 1 || d[0].Key != "instance/bad" {
		t.Errorf("Damaged = %+v, want instance/bad", d)
	}
	if _, err := reg.Register(caller(t), instance("bad")); !errors.Is(err, mesh.ErrForbidden) {
		t.Errorf("somebody took over an id whose owner cannot be told: %v", err)
	}
	admin := identity.NewContext(t.Context(), identity.Caller{Role: identity.Admin})
	if _, err := reg.Register(admin, instance("bad")); err != nil {
		t.Fatal(err)
	}
	if d := reg.Stats().Damaged; len(d) != 0 {
		t.Errorf("Damaged = %+v after a fresh registration", d)
	}
}

func TestAClosedEngineLeavesTheRegistryStale(t *testing.T) {
	e := openIn(t, filepath.Join(t.TempDir(), "store"))
	reg, stop := serve(t, e.Store())
	defer stop()
	if _, err := reg.Register(caller(t), instance("a")); err != nil {
		t.Fatal(err)
	}
	since := mesh.Revision{}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	closed := false
	for snap, err := range reg.Watch(ctx, since) {
		if err != nil {
			t.Fatal(err)
		}
		if !closed {
			closed = true
			closeEngine(t, e)
			continue
		}
		if snap.Stale && snap.Instances() == 1 {
			return
		}
	}
	t.Error("the snapshot did not become stale")
}

// BenchmarkRegister is a registration from the call to the local snapshot, made durable by the engine.
func BenchmarkRegister(b *testing.B) {
	e, err := etcd.Open(b.Context(), etcd.Config{Dir: filepath.Join(b.TempDir(), "store")})
	if err != nil {
		b.Fatal(err)
	}
	defer closeEngine(b, e)
	reg, stop := serve(b, e.Store())
	defer stop()
	ctx := caller(b)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		if _, err := reg.Register(ctx, instance(fmt.Sprintf("i%d", i%1000))); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
