package filelock_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/util/filelock"
)

func TestALockIsHeldUntilItsFileIsClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), filelock.Name)
	wantHeld(t, path, false) // not there
	f := create(t, path)
	wantHeld(t, path, false)
	if err := filelock.Lock(f); err != nil {
		t.Fatal(err)
	}
	wantHeld(t, path, true)
	if err := filelock.Lock(create(t, path)); !errors.Is(err, filelock.ErrLocked) {
		t.Errorf("a second Lock = %v, want ErrLocked", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantHeld(t, path, false)
	if err := filelock.Lock(create(t, path)); err != nil {
		t.Errorf("Lock after a look and a close = %v", err)
	}
}

func create(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func wantHeld(t *testing.T, path string, want bool) {
	t.Helper()
	if held, err := filelock.Held(path); err != nil || held != want {
		t.Errorf("Held = %v, %v, want %v", held, err, want)
	}
}
