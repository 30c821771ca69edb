package openfiles_test

import (
	"os"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/util/openfiles"
)

func TestOfThisProcess(t *testing.T) {
	limit, err := openfiles.Limit()
	if err != nil || limit <= 0 {
		t.Fatalf("Limit = %d, %v", limit, err)
	}
	before, most, err := openfiles.Of(os.Getpid())
	if err != nil || most != limit {
		t.Fatalf("Of = %d, %d, %v, want the limit %d", before, most, err, limit)
	}
	for range 10 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
	}
	if after, _, err := openfiles.Of(os.Getpid()); err != nil || after < before+10 {
		t.Errorf("with 10 more files open, Of = %d after %d, %v", after, before, err)
	}
}

func TestOfNobody(t *testing.T) {
	if open, most, err := openfiles.Of(1 << 30); err == nil {
		t.Errorf("Of a process that is not there = %d, %d, want an error", open, most)
	}
}
