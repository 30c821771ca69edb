//go:build unix

package app_test

import (
	"os"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/util/filelock"
)

// holdDatabase is another process that has the store's database open.
func holdDatabase(t *testing.T, path string) (release func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := filelock.Lock(f); err != nil {
		t.Fatal(err)
	}
	return func() { _ = f.Close() }
}
