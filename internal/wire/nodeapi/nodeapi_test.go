package nodeapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/nodeapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type tokens struct{}

func (tokens) Verify(t string) (identity.Role, bool) { return identity.Service, t == "service-token" }

type fixed struct {
	status mesh.Status
	err    error
}

func (f fixed) Status(context.Context) (mesh.Status, error) { return f.status, f.err }

func handler(node mesh.Node, l httpapi.Listener) http.Handler {
	log := slog.New(slog.DiscardHandler)
	mux := http.NewServeMux()
	nodeapi.Mount(mux, httpapi.NewAPI(mux, "0.0.0-test", log), node, log)
	return httpapi.Handler(mux, l, tokens{}, log)
}

func serve(t *testing.T, node mesh.Node, l httpapi.Listener) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = httpapi.NewServer(handler(node, l), slog.New(slog.DiscardHandler)).Serve(ctx, ln, time.Second)
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return ln.Addr().String()
}

func sample() mesh.Status {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	rev := mesh.Revision{Epoch: 1, Number: 42}
	return mesh.Status{
		NodeID: "node-1", Version: "1.2.3", PID: 77, DataDir: "/data", StartedAt: at, Ready: true,
		Addresses: map[string]string{"control": "127.0.0.1:5010"},
		Roles:     []mesh.RoleStatus{{Name: "discovery", State: "ready", Since: at, Restarts: 2, Reason: "it panicked"}},
		Registry:  mesh.RegistryStatus{Revision: rev, Services: 1, Instances: 2, Sessions: 3, Stale: true},
		Table:     &mesh.TableStatus{Revision: rev, Routes: 4, Services: 3, Endpoints: 5, BuiltAt: at, Stale: true},
		Alarms:    []mesh.Alarm{{Code: mesh.CodeStoreFull, Detail: "the disk is full"}},
	}
}

func TestClientSeesTheWholeStatus(t *testing.T) {
	bare := sample()
	bare.Table, bare.Alarms, bare.Roles, bare.Addresses, bare.StartedAt = nil, nil, nil, nil, time.Time{}
	for name, want := range map[string]mesh.Status{"everything": sample(), "a node with nothing": bare} {
		t.Run(name, func(t *testing.T) {
			c := nodeapi.NewClient(serve(t, fixed{status: want}, httpapi.Listener{Loopback: true}), "")
			defer c.Close()
			got, err := c.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("status over the wire (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClientErrors(t *testing.T) {
	failing := fixed{err: &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeStoreFailed, Detail: "no store"}}
	c := nodeapi.NewClient(serve(t, failing, httpapi.Listener{Loopback: true}), "")
	defer c.Close()
	if _, err := c.Status(t.Context()); !errors.Is(err, mesh.ErrUnavailable) || mesh.CodeOf(err) != mesh.CodeStoreFailed {
		t.Errorf("got %v, want the node's error", err)
	}
	remote := serve(t, fixed{}, httpapi.Listener{})
	c2 := nodeapi.NewClient(remote, "")
	defer c2.Close()
	if _, err := c2.Status(t.Context()); !errors.Is(err, mesh.ErrUnauthenticated) {
		t.Errorf("without a token: %v, want unauthenticated", err)
	}
	c3 := nodeapi.NewClient("127.0.0.1:1", "service-token")
	defer c3.Close()
	if _, err := c3.Status(t.Context()); !errors.Is(err, mesh.ErrUnavailable) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("no node: %v, want unavailable with its address", err)
	}
}

func TestRESTStatus(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), "GET", "http://127.0.0.1:5010/api/v1/status", nil)
	w := httptest.NewRecorder()
	handler(fixed{status: sample()}, httpapi.Listener{Loopback: true}).ServeHTTP(w, r)
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %v: %s", w.Code, err, w.Body)
	}
	if got["nodeId"] != "node-1" || got["ready"] != true || got["dataDir"] != "/data" ||
		got["registry"].(map[string]any)["revision"] != "1.42" || got["table"].(map[string]any)["routes"] != 4.0 {
		t.Errorf("got %s", w.Body)
	}
}
