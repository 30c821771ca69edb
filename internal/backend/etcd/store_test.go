package etcd_test

import (
	"path/filepath"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/backend/etcd"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/state/registry/registrytest"
)

// openIn opens an engine that the test's cleanup closes.
func openIn(tb testing.TB, dir string) *etcd.Engine {
	tb.Helper()
	e, err := etcd.Open(tb.Context(), etcd.Config{Dir: dir, Log: logTo(tb), Ballast: -1, MinFree: -1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { closeEngine(tb, e) })
	return e
}

func closeEngine(tb testing.TB, e *etcd.Engine) {
	tb.Helper()
	if err := e.Close(); err != nil {
		tb.Error(err)
	}
}

func TestStore(t *testing.T) {
	registrytest.TestStore(t, func(tb testing.TB) registry.Store {
		tb.Helper()
		return openIn(tb, filepath.Join(tb.TempDir(), "store")).Store()
	})
}

func TestDurable(t *testing.T) {
	registrytest.TestDurable(t, func(tb testing.TB, dir string) (registry.Store, func()) {
		tb.Helper()
		e := openIn(tb, filepath.Join(dir, "store"))
		return e.Store(), func() { closeEngine(tb, e) }
	})
}
