package discovery_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/role/discovery"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestTheRoleServesUntilItsContextEnds(t *testing.T) {
	cfg := discovery.DefaultConfig()
	if _, err := discovery.New(cfg, memory.NewStore(), nil); err == nil {
		t.Error("New without a node's id succeeded")
	}
	cfg.NodeID = "n1"
	cfg.OwnListeners = func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:5000")} }
	d, err := discovery.New(cfg, memory.NewStore(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		err = d.Run(ctx, func() {
			reg := mesh.Registration{Service: "web", ID: "a", Address: "10.0.0.1", Port: 80, Lifetime: mesh.Permanent}
			own := reg
			own.Address, own.Port = "127.0.0.1", 5000
			if _, err := d.Register(ctx, own); !errors.Is(err, mesh.ErrInvalid) {
				t.Errorf("registering our own listener = %v, want ErrInvalid", err)
			}
			cancel()
		})
		if err != nil {
			t.Errorf("Run = %v", err)
		}
	}
	if snap, err := d.Snapshot(t.Context()); err != nil || !snap.Stale {
		t.Errorf("Snapshot after Run = %+v, %v, want a stale one", snap, err)
	}
}
