package discoveryapi_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	adminToken   = "admin-token"
	serviceToken = "service-token"
)

// tokens knows the two tokens above.
type tokens struct{}

func (tokens) Verify(t string) (identity.Role, bool) {
	switch t {
	case adminToken:
		return identity.Admin, true
	case serviceToken:
		return identity.Service, true
	}
	return identity.Anonymous, false
}

// node is a registry behind a control listener.
type node struct {
	registry *registry.Registry
	addr     string
	// stop shuts the listener down and waits for it.
	stop func()
}

func (n *node) url(path string) string { return "http://" + n.addr + path }

func (n *node) client(t *testing.T, token string) *discoveryapi.Client {
	t.Helper()
	c := discoveryapi.NewClient(n.addr, token)
	t.Cleanup(c.Close)
	return c
}

// judge says a probe's word, as the node itself does.
func (n *node) judge(t *testing.T, id string, rep mesh.Report) error {
	t.Helper()
	return n.registry.Judge(identity.NewContext(t.Context(), identity.Caller{Trusted: true}), mesh.Ref{ID: id}, rep)
}

// start runs a registry on the memory store and serves it on a loopback listener; the listener may be
// described as something else.
func start(t *testing.T, edit ...func(*httpapi.Listener)) *node {
	t.Helper()
	r, err := registry.New(registry.Config{NodeID: "node-1"}, memory.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	ready := make(chan struct{})
	wg.Go(func() {
		if err := r.Run(ctx, func() { close(ready) }); err != nil {
			t.Errorf("registry: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	<-ready
	l := httpapi.Listener{Name: httpapi.ListenerControl, Loopback: true, ErrorPages: true}
	for _, e := range edit {
		e(&l)
	}
	n := serve(t, r, l)
	n.registry = r
	return n
}

func serve(t *testing.T, d mesh.Discovery, l httpapi.Listener) *node {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	mux := http.NewServeMux()
	api := httpapi.NewAPI(mux, "0.0.0-test", log)
	discoveryapi.Mount(mux, api, d, discoveryapi.Options{Log: log, Members: func() []string { return []string{"127.0.0.1:1"} }})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := httpapi.NewServer(httpapi.Handler(mux, l, tokens{}, log), log)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(ctx, ln, 5*time.Second); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	stop := sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return &node{addr: ln.Addr().String(), stop: stop}
}

// within fails the test if fn takes longer than anything here may.
func within(t *testing.T, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s did not happen within 10 s", what)
	}
}
