package upstream_test

import (
	"fmt"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/balance"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// thousand has 1,000 endpoints, of several weights where it goes in turn.
func thousand(strategy string) *upstream.Upstream {
	var list []*mesh.Instance
	for i := range 1000 {
		weight := "1"
		if strategy == "RoundRobin" {
			weight = fmt.Sprint(1 + i%7)
		}
		list = append(list, instance(fmt.Sprintf("i%04d", i), "10.0.0.1", 1000+i, meta("lb_strategy", strategy), meta("weight", weight)))
	}
	return upstream.Build(nil, upstream.Source{Service: "svc", Instances: list}, func(upstream.Target) upstream.Connections { return nil })
}

var strategies = []string{"LeastRequest", "RoundRobin"}

func TestAPickAllocatesNothing(t *testing.T) {
	for _, strategy := range strategies {
		t.Run(strategy, func(t *testing.T) {
			u, tried := thousand(strategy), new(balance.Tried) // whoever forwards keeps it with the exchange
			if n := testing.AllocsPerRun(1000, func() {
				*tried = balance.Tried{}
				u.Release(u.Acquire(tried), upstream.Served)
			}); n > 0 {
				t.Errorf("%.1f allocations per pick, want 0", n)
			}
		})
	}
}

// BenchmarkPick is one pick of 1,000 endpoints, with its release.
func BenchmarkPick(b *testing.B) {
	for _, strategy := range strategies {
		b.Run(strategy, func(b *testing.B) {
			u, tried := thousand(strategy), new(balance.Tried)
			b.ReportAllocs()
			for b.Loop() {
				*tried = balance.Tried{}
				u.Release(u.Acquire(tried), upstream.Served)
			}
		})
	}
}
