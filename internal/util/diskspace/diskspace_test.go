package diskspace_test

import (
	"path/filepath"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/util/diskspace"
)

func TestFree(t *testing.T) {
	if n, err := diskspace.Free(t.TempDir()); err != nil || n <= 0 {
		t.Errorf("Free = %d, %v, want some room where tests write", n, err)
	}
	if n, err := diskspace.Free(filepath.Join(t.TempDir(), "nowhere")); err == nil {
		t.Errorf("Free of what is not there = %d, want an error", n)
	}
}
