package registry_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// filled returns a store with the given number of services of ten instances each.
func filled(b *testing.B, services int) *memory.Store {
	b.Helper()
	store := memory.NewStore()
	for s := range services {
		txn := registry.Txn{}
		for i := range 10 {
			rec := registry.Record{ID: fmt.Sprintf("s%d-%d", s, i), Service: fmt.Sprintf("s%d", s), Address: "10.0.0.1",
				Port: 8080, Lifetime: mesh.Leased, Registrar: "service", Node: node, Metadata: map[string]string{"version": "1"}}
			data, err := registry.Encode(rec)
			if err != nil {
				b.Fatal(err)
			}
			txn.Writes = append(txn.Writes, registry.Write{Key: "instance/" + rec.ID, Data: data})
		}
		if _, err := store.Commit(b.Context(), txn); err != nil {
			b.Fatal(err)
		}
	}
	return store
}

// BenchmarkLoad is a start with 10,000 instances of 1,000 services.
func BenchmarkLoad(b *testing.B) {
	store := filled(b, 1000)
	reg, err := registry.New(registry.Config{NodeID: node}, store)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		if err := reg.Run(ctx, cancel); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkChange is one registration among 10,000 instances of 1,000 services, to the new snapshot.
func BenchmarkChange(b *testing.B) {
	r := start(b, filled(b, 1000))
	ctx := identity.NewContext(b.Context(), identity.Caller{Role: identity.Service})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Register(ctx, web("a")); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRenew is one renewal among 10,000 instances.
func BenchmarkRenew(b *testing.B) {
	r := start(b, filled(b, 1000))
	ctx := identity.NewContext(b.Context(), identity.Caller{Role: identity.Service})
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Renew(ctx, mesh.Ref{ID: "s7-7"}); err != nil {
			b.Fatal(err)
		}
	}
}
