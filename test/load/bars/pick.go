package main

import (
	"context"
	"fmt"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/balance"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// measurePick picks one of 1,000 endpoints, and gives it back.
func measurePick(_ context.Context, r *report) error {
	for _, strategy := range []string{"LeastRequest", "RoundRobin"} {
		var instances []*mesh.Instance
		for i := range 1000 {
			instances = append(instances, &mesh.Instance{ID: fmt.Sprintf("i%04d", i), Service: "svc", Address: "10.0.0.1", Port: 1000 + i,
				Metadata: map[string]string{"lb_strategy": strategy, "weight": fmt.Sprint(1 + i%7)}})
		}
		u := upstream.Build(nil, upstream.Source{Service: "svc", Instances: instances},
			func(upstream.Target) upstream.Connections { return nil })
		got := testing.Benchmark(func(b *testing.B) {
			b.Helper()
			var tried balance.Tried
			b.ReportAllocs()
			for b.Loop() {
				tried = balance.Tried{}
				u.Release(u.Acquire(&tried), upstream.Served)
			}
		})
		r.atMost(strategy+", 1,000 endpoints, a pick and its release", float64(got.NsPerOp()), 100, "ns", "")
		r.atMost(strategy+", allocations per pick", float64(got.AllocsPerOp()), 0, "", "")
	}
	return nil
}
