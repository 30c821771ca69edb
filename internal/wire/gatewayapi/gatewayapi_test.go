package gatewayapi_test

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
	"github.com/toska-mesh/toska-mesh/internal/wire/gatewayapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type tokens struct{}

func (tokens) Verify(t string) (identity.Role, bool) { return identity.Service, t == "service-token" }

type fixed struct {
	routes    []mesh.RouteStatus
	upstreams []mesh.UpstreamStatus
	err       error
}

func (f fixed) Upstreams(_ context.Context, service string) ([]mesh.UpstreamStatus, error) {
	var out []mesh.UpstreamStatus
	for _, u := range f.upstreams {
		if service == "" || u.Service == service {
			out = append(out, u)
		}
	}
	return out, f.err
}

func (f fixed) Routes(context.Context) ([]mesh.RouteStatus, error) { return f.routes, f.err }

func handler(r mesh.Routing, l httpapi.Listener) http.Handler {
	log := slog.New(slog.DiscardHandler)
	mux := http.NewServeMux()
	gatewayapi.Mount(httpapi.NewAPI(mux, "0.0.0-test", log), r)
	return httpapi.Handler(mux, l, tokens{}, log)
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = httpapi.NewServer(h, slog.New(slog.DiscardHandler)).Serve(ctx, ln, time.Second) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return ln.Addr().String()
}

func sample() []mesh.RouteStatus {
	return []mesh.RouteStatus{
		{Name: "orders", Kind: mesh.RouteConfigured, Prefix: "/orders", StripPrefix: "/orders", ReplacePrefix: "/x", UpstreamHost: "keep", EncodedSlash: true,
			Timeouts: mesh.RouteTimeouts{Connect: 2 * time.Second, PerTry: 10 * time.Second, Idle: time.Minute, Total: 1500 * time.Millisecond},
			Retry:    mesh.RouteRetry{Attempts: 3, Budget: 0.2, AllMethods: true}, Warning: "odd",
			Hosts: []string{"shop.example"}, Path: "/orders/…", Methods: []string{"GET", "POST"}, Service: "orders",
			Origin: "mesh.yaml:21:5", State: mesh.RouteInForce},
		{Name: "bad", Kind: mesh.RouteConfigured, Exact: "/bad", Path: "/…", Origin: "mesh.yaml:30:5", State: mesh.RouteQuarantined, Reason: "has no to"},
	}
}

func TestClientSeesAllRoutes(t *testing.T) {
	for name, want := range map[string][]mesh.RouteStatus{"some": sample(), "none": nil} {
		t.Run(name, func(t *testing.T) {
			c := gatewayapi.NewClient(serve(t, handler(fixed{routes: want}, httpapi.Listener{Loopback: true})), "")
			defer c.Close()
			got, err := c.Routes(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("routes over the wire (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClientSeesUpstreams(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	all := []mesh.UpstreamStatus{
		{Service: "a b", Source: mesh.UpstreamFile, Origin: "f:1:2", Overridden: 2, Quarantined: "q", Why: "w", Ejections: 3, Retries: 4,
			Endpoints: []mesh.EndpointStatus{{Address: "h:1", Instance: "i", Picked: true, Why: "warm", InFlight: 5, Failures: 6, LastFailure: "C",
				LastFailureAt: at, EjectedAt: at, EjectedUntil: at.Add(time.Second), EjectedFor: "x", Share: 0.5}, {Address: "h:2"}}},
		{Service: "web", Source: mesh.UpstreamRegistry},
	}
	c := gatewayapi.NewClient(serve(t, handler(fixed{upstreams: all}, httpapi.Listener{Loopback: true})), "")
	defer c.Close()
	for service, want := range map[string][]mesh.UpstreamStatus{"": all, "a b": all[:1], "none": nil} {
		got, err := c.Upstreams(t.Context(), service)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("upstreams of %q (-want +got):\n%s", service, diff)
		}
	}
}

func TestClientErrorsKeepTheirKind(t *testing.T) {
	for _, kind := range []error{mesh.ErrInvalid, mesh.ErrTooLarge, mesh.ErrNotFound, mesh.ErrConflict, mesh.ErrForbidden, mesh.ErrUnavailable} {
		t.Run(kind.Error(), func(t *testing.T) {
			given := &mesh.Error{Kind: kind, Code: "TOSKA-TEST", Detail: "told", Fields: []mesh.FieldError{{Field: "f", Problem: "p"}}}
			c := gatewayapi.NewClient(serve(t, handler(fixed{err: given}, httpapi.Listener{Loopback: true})), "")
			defer c.Close()
			_, err := c.Routes(t.Context())
			if !errors.Is(err, kind) || mesh.CodeOf(err) != "TOSKA-TEST" || err.Error() != given.Error() {
				t.Errorf("error = %v, want %v", err, given)
			}
		})
	}
}

func TestClientErrors(t *testing.T) {
	foreign := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusTeapot) })
	noise := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) })
	ended, end := context.WithCancel(t.Context())
	end()
	for _, tc := range []struct {
		name    string
		ctx     context.Context
		control string
		kind    error
		says    string
	}{
		{"without a token where one is needed", t.Context(), serve(t, handler(fixed{}, httpapi.Listener{})), mesh.ErrUnauthenticated, ""},
		{"no node", t.Context(), "127.0.0.1:1", mesh.ErrUnavailable, "127.0.0.1:1"},
		{"a node that has no such path", t.Context(), serve(t, httpapi.Handler(http.NewServeMux(), httpapi.Listener{Loopback: true}, tokens{}, slog.New(slog.DiscardHandler))), mesh.ErrNotFound, routesPath},
		{"a server that is no node", t.Context(), serve(t, foreign), nil, "418"},
		{"an answer that is none", t.Context(), serve(t, noise), nil, "none of ours"},
		{"a caller that has gone", ended, "127.0.0.1:1", context.Canceled, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := gatewayapi.NewClient(tc.control, "")
			defer c.Close()
			_, err := c.Routes(tc.ctx)
			if err == nil || tc.kind != nil && !errors.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error = %v, want %v that says %q", err, tc.kind, tc.says)
			}
		})
	}
}

const routesPath = "/api/v1/routes"

func TestREST(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), "GET", "http://127.0.0.1:5010"+routesPath, nil)
	w := httptest.NewRecorder()
	handler(fixed{routes: sample()[1:]}, httpapi.Listener{Loopback: true}).ServeHTTP(w, r)
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %v: %s", w.Code, err, w.Body)
	}
	delete(got, "$schema")
	want := map[string]any{"routes": []any{map[string]any{"name": "bad", "kind": "route", "exact": "/bad",
		"timeouts": map[string]any{"connect": 0.0, "per_try": 0.0, "idle": 0.0, "total": 0.0},
		"retry":    map[string]any{"attempts": 0.0, "budget": 0.0, "all_methods": false}, "hosts": []any{}, "path": "/…", "methods": []any{}, "service": "",
		"origin": "mesh.yaml:30:5", "state": "quarantined", "reason": "has no to"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}
