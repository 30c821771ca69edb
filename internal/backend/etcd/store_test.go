package etcd_test

import (
	"path/filepath"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/backend/etcd"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/state/registry/registrytest"
)

// openIn opens an engine that the test's cleanup closes.
func openIn(t testing.TB, dir string) *etcd.Engine {
	t.Helper()
	e, err := etcd.Open(t.Context(), etcd.Config{Dir: dir, Log: logTo(t), Ballast: -1, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeEngine(t, e) })
	return e
}

func closeEngine(t testing.TB, e *etcd.Engine) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

func TestStore(t *testing.T) {
	registrytest.TestStore(t, func(t testing.TB) registry.Store { return openIn(t, filepath.Join(t.TempDir(), "store")).Store() })
}

func TestDurable(t *testing.T) {
	registrytest.TestDurable(t, func(t testing.TB, dir string) (registry.Store, func()) {
		e := openIn(t, filepath.Join(dir, "store"))
		return e.Store(), func() { closeEngine(t, e) }
	})
}
