package dashboardapi_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/internal/wire/dashboardapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type tokens struct{}

func (tokens) Verify(t string) (identity.Role, bool) { return identity.Service, t == "service-token" }

type node struct {
	registry *registry.Registry
	url      string
}

func start(t *testing.T, l httpapi.Listener, opt dashboardapi.Options) *node {
	t.Helper()
	r, err := registry.New(registry.Config{NodeID: "node-1"}, memory.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	mux := http.NewServeMux()
	opt.Liveness, opt.Log = r, log
	dashboardapi.Mount(mux, r, opt)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	ready := make(chan struct{})
	wg.Go(func() { _ = r.Run(ctx, func() { close(ready) }) })
	wg.Go(func() {
		_ = httpapi.NewServer(httpapi.Handler(mux, l, tokens{}, log), log).Serve(ctx, ln, time.Second)
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	<-ready
	return &node{registry: r, url: "http://" + ln.Addr().String()}
}

func loopback() httpapi.Listener {
	return httpapi.Listener{Name: httpapi.ListenerControl, Loopback: true}
}

func (n *node) do(t *testing.T, method, path string, fields ...string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, n.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

// fill registers two instances of shop, one of them failing, one of web that drains, and consul.
func fill(t *testing.T, n *node) {
	t.Helper()
	ctx := identity.NewContext(t.Context(), identity.Caller{Role: identity.Service})
	for _, r := range []mesh.Registration{
		{Service: "Shop", ID: "s-1", Address: "10.0.0.1", Port: 80, Metadata: map[string]string{"zone": "a", "weight": "2"}},
		{Service: "Shop", ID: "s-2", Address: "10.0.0.2", Port: 80, Metadata: map[string]string{"zone": "b", "weight": "2"}},
		{Service: "web", ID: "w-1", Address: "10.0.0.3", Port: 80},
		{Service: "consul", ID: "c-1", Address: "10.0.0.4", Port: 8500},
	} {
		r.Lifetime = mesh.Permanent
		if _, err := n.registry.Register(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.registry.Report(ctx, mesh.Ref{ID: "s-2"}, mesh.Report{Health: mesh.Failing, Output: "disk full"}); err != nil {
		t.Fatal(err)
	}
	if err := n.registry.Drain(ctx, mesh.Ref{ID: "w-1"}); err != nil {
		t.Fatal(err)
	}
}

var recent = regexp.MustCompile(`"20[0-9]{2}-[0-9:.T-]+Z"`)

const (
	shop1 = `{"serviceId":"s-1","serviceName":"Shop","address":"10.0.0.1","port":80,"status":1,"lastProbe":"0001-01-01T00:00:00Z",` +
		`"lastProbeType":"registry","message":null,"metadata":{"weight":"2","zone":"a"}}`
	shop2 = `{"serviceId":"s-2","serviceName":"Shop","address":"10.0.0.2","port":80,"status":2,"lastProbe":"0001-01-01T00:00:00Z",` +
		`"lastProbeType":"registry","message":"disk full","metadata":{"weight":"2","zone":"b"}}`
	web1 = `{"serviceId":"w-1","serviceName":"web","address":"10.0.0.3","port":80,"status":3,"lastProbe":"0001-01-01T00:00:00Z",` +
		`"lastProbeType":"registry","message":null,"metadata":{}}`
	catalog = `[{"serviceName":"Shop","instances":[` +
		`{"serviceName":"Shop","serviceId":"s-1","address":"10.0.0.1","port":80,"status":1,"metadata":{"weight":"2","zone":"a"},"registeredAt":NOW,"lastHealthCheck":NOW},` +
		`{"serviceName":"Shop","serviceId":"s-2","address":"10.0.0.2","port":80,"status":2,"metadata":{"weight":"2","zone":"b"},"registeredAt":NOW,"lastHealthCheck":NOW}],` +
		`"health":[` + shop1 + `,` + shop2 + `],` +
		`"metadata":{"serviceName":"Shop","instanceCount":2,"generatedAt":NOW,"keys":[{"key":"weight","instanceCount":2,"values":["2"]},{"key":"zone","instanceCount":2,"values":["a","b"]}]}},` +
		`{"serviceName":"web","instances":[` +
		`{"serviceName":"web","serviceId":"w-1","address":"10.0.0.3","port":80,"status":3,"metadata":{},"registeredAt":NOW,"lastHealthCheck":NOW}],` +
		`"health":[` + web1 + `],` +
		`"metadata":{"serviceName":"web","instanceCount":1,"generatedAt":NOW,"keys":[]}}]`
)

func TestWhatTheDashboardReads(t *testing.T) {
	n := start(t, loopback(), dashboardapi.Options{})
	fill(t, n)
	for _, tt := range []struct{ path, want string }{
		{"/api/dashboard/services", catalog},
		{"/api/Dashboard/Services", catalog},
		{"/api/dashboard/health", "[" + shop1 + "," + shop2 + "," + web1 + "]"},
		{"/api/Status", "[" + shop1 + "," + shop2 + "," + web1 + "]"},
		{"/api/status", "[" + shop1 + "," + shop2 + "," + web1 + "]"},
		{"/api/Status/sHOP", "[" + shop1 + "," + shop2 + "]"},
		{"/api/Status/nobody", "[]"},
	} {
		status, header, body := n.do(t, "GET", tt.path)
		if status != http.StatusOK || header.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("GET %s: %d %s", tt.path, status, header.Get("Content-Type"))
		}
		if diff := cmp.Diff(tt.want, recent.ReplaceAllString(body, "NOW")); diff != "" {
			t.Errorf("GET %s (-want +got):\n%s", tt.path, diff)
		}
	}
}

func TestAnEmptyMeshIsEmptyLists(t *testing.T) {
	n := start(t, loopback(), dashboardapi.Options{})
	for _, path := range []string{"/api/dashboard/services", "/api/dashboard/health", "/api/Status", "/api/Status/web"} {
		if _, _, body := n.do(t, "GET", path); body != "[]" {
			t.Errorf("GET %s: %s, want []", path, body)
		}
	}
}

func TestTheDashboardIsReadOnly(t *testing.T) {
	n := start(t, loopback(), dashboardapi.Options{Anonymous: true})
	for _, path := range []string{"/api/dashboard/services", "/api/dashboard/health", "/api/Status", "/api/Status/web"} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			if status, _, body := n.do(t, method, path); status != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d %s, want 405", method, path, status, body)
			}
		}
		if status, _, body := n.do(t, "HEAD", path); status != http.StatusOK || body != "" {
			t.Errorf("HEAD %s: %d %q", path, status, body)
		}
	}
	if status, _, _ := n.do(t, "GET", "/api/dashboard/anything"); status != http.StatusNotFound {
		t.Errorf("a path beside the list: %d, want 404", status)
	}
}

func TestWhoMayReadTheDashboard(t *testing.T) {
	tests := []struct {
		name     string
		loopback bool
		opt      dashboardapi.Options
		fields   []string
		want     int
	}{
		{"anyone on loopback", true, dashboardapi.Options{}, nil, 200},
		{"nobody without a token beyond it", false, dashboardapi.Options{}, nil, 401},
		{"a token", false, dashboardapi.Options{}, []string{"Authorization", "Bearer service-token"}, 200},
		{"a wrong token, on loopback too", true, dashboardapi.Options{}, []string{"Authorization", "Bearer guess"}, 401},
		{"anyone where that is configured", false, dashboardapi.Options{Anonymous: true}, nil, 200},
		{"no page of another origin", true, dashboardapi.Options{Anonymous: true}, []string{"Origin", "https://evil.example"}, 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := loopback()
			l.Loopback = tt.loopback
			n := start(t, l, tt.opt)
			for _, path := range []string{"/api/dashboard/services", "/api/dashboard/health", "/api/Status", "/api/Status/web"} {
				status, header, body := n.do(t, "GET", path, tt.fields...)
				if status != tt.want {
					t.Errorf("GET %s: %d %s, want %d", path, status, body, tt.want)
				}
				if origin := header.Get("Access-Control-Allow-Origin"); origin != "" {
					t.Errorf("GET %s admits the origin %q, and none is set", path, origin)
				}
			}
		})
	}
}

func TestARegistryThatIsAwayIsAProblem(t *testing.T) {
	mux := http.NewServeMux()
	dashboardapi.Mount(mux, away{}, dashboardapi.Options{})
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/api/dashboard/services", nil)
	r.Host = "127.0.0.1:5010"
	w := httptest.NewRecorder()
	httpapi.Handler(mux, loopback(), tokens{}, slog.New(slog.DiscardHandler)).ServeHTTP(w, r)
	var p httpapi.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusServiceUnavailable || !strings.Contains(p.Detail, "away") {
		t.Errorf("%d %s (%v)", w.Code, w.Body, err)
	}
}

type away struct{ mesh.Discovery }

func (away) Snapshot(context.Context) (*mesh.Snapshot, error) {
	return nil, &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: "the registry is away"}
}
