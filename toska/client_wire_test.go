package toska_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
)

// open lets everyone in.
type open struct{}

func (open) Verify(string) (identity.Role, bool) { return identity.Admin, true }

// control is the control port of a node whose memory is its registry.
type control struct {
	t        *testing.T
	registry *registry.Registry
	addr     string
	kill     func()
}

// startControl serves a fresh registry at addr; port 0 for any.
func startControl(t *testing.T, addr string) *control {
	t.Helper()
	r, err := registry.New(registry.Config{NodeID: "node-1"}, memory.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	mux := http.NewServeMux()
	discoveryapi.Mount(mux, httpapi.NewAPI(mux, "0.0.0-test", log), r, discoveryapi.Options{})
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := httpapi.NewServer(httpapi.Handler(mux, httpapi.Listener{Name: httpapi.ListenerControl, Loopback: true}, open{}, log), log)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	ready := make(chan struct{})
	wg.Go(func() {
		if err := r.Run(ctx, func() { close(ready) }); err != nil {
			t.Errorf("registry: %v", err)
		}
	})
	wg.Go(func() {
		if err := srv.Serve(ctx, ln, time.Millisecond); err != nil {
			t.Logf("serve: %v", err)
		}
	})
	<-ready
	n := &control{t: t, registry: r, addr: ln.Addr().String(), kill: sync.OnceFunc(func() { cancel(); wg.Wait() })}
	t.Cleanup(n.kill)
	return n
}

func (n *control) register(b *backend) {
	n.t.Helper()
	ctx := identity.NewContext(n.t.Context(), identity.Caller{Role: identity.Admin, Trusted: true})
	if _, err := n.registry.Register(ctx, mesh.Registration{Service: "orders", ID: b.ID, Address: b.Address, Port: b.Port, Lifetime: mesh.Permanent}); err != nil {
		n.t.Fatal(err)
	}
}

func TestU8CallsGoOnWhileEveryNodeIsAwayAndOneComesBackWithoutItsMemory(t *testing.T) {
	a, b := serve(t, "a", nil), serve(t, "b", nil)
	n := startControl(t, "127.0.0.1:0")
	c, err := toska.NewClient(toska.WithLogger(nil), toska.WithControl("127.0.0.1:1", n.addr), toska.WithToken("token"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	n.register(a)
	mustGet(t, c)
	n.register(b)
	eventually(t, "the second instance", func() bool { return endpoints(t, c) == "a b" })

	n.kill()
	for range 20 {
		mustGet(t, c)
	}
	n = startControl(t, n.addr)
	for range 20 {
		mustGet(t, c)
	}
	n.register(b)
	eventually(t, "what the node knows now", func() bool { return endpoints(t, c) == "b" })
	if got := mustGet(t, c); got != "b" {
		t.Errorf("got %q", got)
	}
}
