package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/toska/toskatest"
)

// measureToskatest makes meshes as tests do, one after the other.
func measureToskatest(_ context.Context, r *report) error {
	var took []float64
	// It calls the function again and again, each time with a T of its own whose cleanup ends the mesh.
	testing.Benchmark(func(b *testing.B) {
		b.Helper()
		begin := time.Now()
		toskatest.New(b)
		took = append(took, millis(time.Since(begin)))
	})
	if len(took) == 0 {
		return errors.New("no mesh was made")
	}
	r.note("%d meshes, median %.1f ms", len(took), median(took))
	r.atMost("toskatest.New, the first of a process", took[0], 200, "ms", "")
	r.atMost("toskatest.New, the slowest", percentile(took, 100), 200, "ms", "")
	return nil
}
