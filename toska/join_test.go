package toska_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
	"github.com/toska-mesh/toska-mesh/toska/toskatest"
)

// ask asks without keeping the connection; an error is status 0.
func ask(t *testing.T, method, url string) (int, string) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		return 0, err.Error()
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(body)
}

// logged is a log that a test reads.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logged) option() toska.Option {
	return toska.WithLogger(slog.New(slog.NewJSONHandler(l, nil)))
}

// joined runs Join by itself on a listener of the test's, and returns the instance's URL. stop returns what Join
// ends with.
func joined(t *testing.T, h http.Handler, opts ...toska.Option) (url string, stop func() error) {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- toska.Join(ctx, "orders", h, append(opts, toska.WithListener(ln))...) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return "http://" + ln.Addr().String(), stop
}

func tie(t *testing.T, m *toskatest.Mesh) *toska.Mesh {
	t.Helper()
	d, err := toska.NewMesh(m.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// awaitSnapshot waits until the registry is as wanted, also while its node is away.
func awaitSnapshot(t *testing.T, d mesh.Discovery, what string, ok func([]*mesh.Instance) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		for s, err := range d.Watch(ctx, mesh.Revision{}) {
			if err == nil && ok(s.Services["orders"]) {
				return
			}
		}
	}
	t.Fatalf("it never came that %s", what)
}

func TestTheSDKAnswersItsPathsUnlessTheServiceDoes(t *testing.T) {
	own := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "own") })
	mux := func(patterns ...string) http.Handler {
		m := http.NewServeMux()
		for _, p := range patterns {
			m.Handle(p, own)
		}
		return m
	}
	m := toskatest.New(t)
	for _, tt := range []struct {
		name   string
		h      http.Handler
		opts   []toska.Option
		method string
		path   string
		isOwn  bool
		status int
	}{
		{"a mux without the path", mux("/x"), nil, "GET", "/health", false, 200},
		{"a mux that takes in everything", mux("/"), nil, "GET", "/health/ready", false, 200},
		{"a mux with a wildcard", mux("/{any}"), nil, "GET", "/health", false, 200},
		{"a mux with the path", mux("/health"), nil, "GET", "/health", true, 200},
		{"a mux with the path and a method", mux("GET /health/live"), nil, "GET", "/health/live", true, 200},
		{"a mux with another path of ours", mux("/health"), nil, "GET", "/health/ready", false, 200},
		{"a mux with a tree", mux("/health/"), nil, "GET", "/health/ready", true, 200},
		{"a mux with metrics", mux("/metrics"), nil, "GET", "/metrics", true, 200},
		{"another method", mux("/"), nil, "POST", "/health", true, 200},
		{"another method without the path", mux("/x"), nil, "POST", "/health", false, 404},
		{"HEAD", mux("/"), nil, "HEAD", "/health", false, 200},
		{"another handler", own, nil, "GET", "/health", false, 200},
		{"another handler that keeps its paths", own, []toska.Option{toska.WithoutHealthEndpoints()}, "GET", "/health", true, 200},
		{"another path", mux("/"), nil, "GET", "/healthy", true, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := m.Join("orders", tt.h, tt.opts...)
			defer func() { _ = i.Stop() }()
			status, body := ask(t, tt.method, i.URL()+tt.path)
			if status != tt.status || (body == "own") != tt.isOwn {
				t.Errorf("%s %s = %d %q, want %d, own: %v", tt.method, tt.path, status, body, tt.status, tt.isOwn)
			}
		})
	}
}

func TestTheHealthBodyIsThatOfTheFamily(t *testing.T) {
	m := toskatest.New(t)
	i := m.Join("Orders", nil, toska.WithHealth(func(context.Context) error { return toska.Degraded(errors.New("slow disk")) }))
	status, body := ask(t, "GET", i.URL()+"/health")
	var got struct {
		Status, Service, ID string
		Duration            *float64
		Checks              []struct{ Name, Status, Exception string }
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if status != 200 || got.Status != "Degraded" || got.Service != "Orders" || got.ID != i.ID || got.Duration == nil || len(got.Checks) != 4 {
		t.Errorf("%d %s", status, body)
	}
	if c := got.Checks[2]; c.Name != "service" || c.Status != "Degraded" || c.Exception != "slow disk" {
		t.Errorf("the service's check is %+v", c)
	}
	awaitSnapshot(t, tie(t, m), "it is degraded", func(list []*mesh.Instance) bool {
		return len(list) == 1 && list[0].Health == mesh.Degraded && list[0].HealthBy == mesh.SourceReport
	})
}

func TestMetricsCountRequestsAndTellOfTheMesh(t *testing.T) {
	m := toskatest.New(t)
	i := m.Join("orders", nil)
	ask(t, "GET", i.URL()+"/x")
	ask(t, "BREW", i.URL()+"/x")
	_, body := ask(t, "GET", i.URL()+"/metrics")
	for _, want := range []string{
		`http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",network_protocol_version="1.1",service="orders",service_name="orders"} 1`,
		`http_request_method="_OTHER"`,
		`http_server_active_requests{service="orders",service_name="orders"} 0`,
		`toska_registered{service="orders",service_name="orders"} 1`,
		`toska_reregistrations_total{service="orders",service_name="orders"} 0`,
		`go_goroutines{`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
}

func TestAPanicOfAHandlerEndsOneRequest(t *testing.T) {
	var log logged
	h := http.NewServeMux()
	h.HandleFunc("/early", func(http.ResponseWriter, *http.Request) { panic("early") })
	h.HandleFunc("/late", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		panic("late")
	})
	h.HandleFunc("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	h.HandleFunc("/fine", func(http.ResponseWriter, *http.Request) {})
	i := toskatest.New(t).Join("orders", h, log.option())
	for path, want := range map[string]int{"/early": 500, "/late": 0, "/abort": 0, "/fine": 200} {
		if status, body := ask(t, "GET", i.URL()+path); status != want {
			t.Errorf("%s = %d %q, want %d", path, status, body, want)
		}
	}
	got := log.String()
	if !strings.Contains(got, `"panic":"early"`) || !strings.Contains(got, "join_test.go") || strings.Contains(got, `"path":"/abort"`) {
		t.Errorf("the log has no panic with its stack, or has one of an abort:\n%s", got)
	}
	if _, body := ask(t, "GET", i.URL()+"/metrics"); !strings.Contains(body, `http_response_status_code="500"`) {
		t.Error("the panic is not counted as 500")
	}
}

// U-13: readiness goes off and the instance is drained before anything stops; what is under way is finished.
func TestU13AnInstanceLeavesInOrder(t *testing.T) {
	m := toskatest.New(t)
	entered, finish := make(chan struct{}), make(chan struct{})
	h := http.NewServeMux()
	h.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-finish
		_, _ = io.WriteString(w, "done")
	})
	url, stop := joined(t, h, m.Options(toska.WithDrainDelay(300*time.Millisecond))...)
	d := tie(t, m)
	eventually(t, "it is tied", func() bool { _, body := ask(t, "GET", url+"/health"); return !strings.Contains(body, "not tied") })
	slow := make(chan string, 1)
	go func() {
		status, body := ask(t, "GET", url+"/slow")
		slow <- fmt.Sprint(status, body)
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	awaitSnapshot(t, d, "it drains", func(l []*mesh.Instance) bool { return len(l) == 1 && l[0].Draining })
	if status, _ := ask(t, "GET", url+"/health/ready"); status != 503 {
		t.Errorf("while it drains /health/ready is %d, want 503", status)
	}
	if status, _ := ask(t, "GET", url+toska.DefaultCheck); status != 503 {
		t.Errorf("while it drains what the mesh probes is %d, want 503", status)
	}
	if status, _ := ask(t, "GET", url+"/health/live"); status != 200 {
		t.Errorf("while it drains /health/live is %d, want 200", status)
	}
	awaitSnapshot(t, d, "it is deregistered", func(l []*mesh.Instance) bool { return len(l) == 0 })
	select {
	case err := <-stopped:
		t.Errorf("Join = %v although a request is under way", err)
	default:
	}
	close(finish)
	if got := <-slow; got != "200 done" && got != "200done" {
		t.Errorf("the request under way got %q", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Join = %v, want nil", err)
	}
}

func TestARequestThatOutlastsTheGraceIsEnded(t *testing.T) {
	entered := make(chan struct{})
	released := make(chan struct{})
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(released)
	})
	url, stop := joined(t, h, toskatest.New(t).Options(toska.WithGrace(20*time.Millisecond))...)
	go ask(t, "GET", url+"/x")
	<-entered
	if err := stop(); err != nil {
		t.Errorf("Join = %v, want nil", err)
	}
	<-released
}

func TestTheOlderOfTwoProgramsWithOneIDIsTold(t *testing.T) {
	m := toskatest.New(t)
	old := m.Join("orders", nil, toska.WithID("orders-1"))
	young := m.Join("orders", nil, toska.WithID("orders-1"))
	<-old.Done()
	if err := old.Stop(); !errors.Is(err, mesh.ErrStale) || !strings.Contains(err.Error(), "orders-1") {
		t.Errorf("the older one ended with %v, want mesh.ErrStale", err)
	}
	if status, _ := ask(t, "GET", old.URL()+"/x"); status != 0 {
		t.Errorf("the older one still serves: %d", status)
	}
	if status, _ := ask(t, "GET", m.Gateway()+"/api/orders/x"); status != 200 || young.Incarnation <= old.Incarnation {
		t.Errorf("the newer one: %d, incarnation %d after %d", status, young.Incarnation, old.Incarnation)
	}
}

func TestAnInstanceThatIsDeregisteredGoesOnServing(t *testing.T) {
	m := toskatest.New(t)
	var log logged
	i := m.Join("orders", nil, log.option())
	d := tie(t, m)
	if err := d.Deregister(t.Context(), mesh.Ref{ID: i.ID}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log tells", func() bool { return strings.Contains(log.String(), "deregistered by somebody else") })
	if status, _ := ask(t, "GET", i.URL()+"/x"); status != 200 {
		t.Errorf("it answers %d, want 200", status)
	}
	if err := i.Stop(); err != nil {
		t.Errorf("Join = %v, want nil", err)
	}
}

// N-19: a service joins a mesh that comes later, and comes back to one that was away.
func TestN19AServiceWaitsForItsNode(t *testing.T) {
	m := toskatest.New(t)
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
	var log logged
	url, stop := joined(t, nil, m.Options(log.option(), toska.WithID("orders-1"))...)
	eventually(t, "the log is loud", func() bool { return strings.Contains(log.String(), "cannot reach the mesh") })
	if status, body := ask(t, "GET", url+"/health"); status != 200 || !strings.Contains(body, "Degraded") {
		t.Errorf("without a node /health is %d %s", status, body)
	}
	if _, body := ask(t, "GET", url+"/metrics"); !strings.Contains(body, `toska_registered{service="orders",service_name="orders"} 0`) {
		t.Error("the gauge does not say that it is not registered")
	}
	for range 2 {
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
		awaitSnapshot(t, tie(t, m), "it is registered", func(l []*mesh.Instance) bool { return len(l) == 1 })
		eventually(t, "the gauge says so", func() bool {
			_, body := ask(t, "GET", url+"/metrics")
			return strings.Contains(body, `toska_registered{service="orders",service_name="orders"} 1`)
		})
		if err := m.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("Join = %v, want nil although the node is away", err)
	}
}

func TestJoinRefusesWhatCannotBe(t *testing.T) {
	m := toskatest.New(t)
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, tt := range []struct {
		name    string
		service string
		env     map[string]string
		byEnv   bool // without the options that tie to the mesh
		opts    []toska.Option
		kind    error
		says    []string
	}{
		{name: "no name", kind: mesh.ErrInvalid, says: []string{"TOSKA_SERVICE"}},
		{name: "a name that the mesh refuses", service: "a b", kind: mesh.ErrInvalid, says: []string{"DNS label"}},
		{name: "a discovery port that is not this user's, by the family's variable", service: "a", env: map[string]string{"MESH_DISCOVERY_ADDRESS": m.Discovery()},
			byEnv: true, kind: mesh.ErrInvalid, says: []string{"no such procedure", m.Discovery(), "TOSKA_CONTROL"}},
		{name: "a token that is none", service: "a", opts: []toska.Option{toska.WithToken("wrong")}, kind: mesh.ErrUnauthenticated},
		{name: "an address that is none", service: "a", opts: []toska.Option{toska.WithControl("nowhere")}, kind: mesh.ErrInvalid, says: []string{"nowhere", "HOST:PORT"}},
		{name: "a duration that is none", service: "a", env: map[string]string{"TOSKA_GRACE": "soon"}, kind: mesh.ErrInvalid, says: []string{"TOSKA_GRACE", "soon"}},
		{name: "everything wrong at once", service: "a", env: map[string]string{"TOSKA_WEIGHT": "x", "TOSKA_METADATA": "y"},
			opts: []toska.Option{toska.WithListen("z")}, kind: mesh.ErrInvalid, says: []string{"TOSKA_WEIGHT", "TOSKA_METADATA", "listen"}},
		{name: "a port that is taken", service: "a", opts: []toska.Option{toska.WithListen(taken.Addr().String())}, says: []string{"TOSKA_LISTEN"}},
		{name: "an address to advertise that is none", service: "a", opts: []toska.Option{toska.WithAdvertise("h:0")}, says: []string{"HOST:PORT"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			opts := m.Options(tt.opts...)
			if tt.byEnv {
				opts = append(tt.opts, toska.WithLogger(nil))
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := toska.Join(ctx, tt.service, nil, opts...)
			if err == nil || tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Fatalf("Join = %v, want %v", err, tt.kind)
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
		})
	}
}

func TestTheEnvironmentNamesWhatCodeDoesNot(t *testing.T) {
	m := toskatest.New(t)
	for k, v := range map[string]string{
		"MESH_SERVICE_NAME": "orders", "MESH_SERVICE_PORT": "0", "TOSKA_VERSION": "3", "TOSKA_WEIGHT": "7",
		"TOSKA_METADATA": "zone=a, rack = 2", "TOSKA_ID": "from-env", "TOSKA_STRATEGY": "Random",
	} {
		t.Setenv(k, v)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- toska.Join(ctx, "", nil, m.Options(toska.WithVersion("4"))...) }()
	awaitSnapshot(t, tie(t, m), "it is registered as the environment says", func(l []*mesh.Instance) bool {
		return len(l) == 1 && l[0].ID == "from-env" && l[0].Metadata["version"] == "4" && l[0].Metadata["weight"] == "7" &&
			l[0].Metadata["zone"] == "a" && l[0].Metadata["rack"] == "2" && l[0].Metadata["lb_strategy"] == "Random"
	})
	cancel()
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// abrupt is a server that can only be closed by its listener.
type abrupt struct{ http.Handler }

func (a abrupt) Serve(ln net.Listener) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		_ = c.Close()
	}
}

func TestJoinListenerServesAnyServer(t *testing.T) {
	m := toskatest.New(t)
	for name, server := range map[string]toska.Server{
		"one that shuts down":          &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second},
		"one that only has a listener": abrupt{},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			result := make(chan error, 1)
			go func() { result <- toska.JoinListener(ctx, "orders", server, m.Options()...) }()
			awaitSnapshot(t, tie(t, m), "it is registered with a TCP check", func(l []*mesh.Instance) bool {
				return len(l) == 1 && l[0].Check != nil && l[0].Check.HTTP == ""
			})
			cancel()
			if err := <-result; err != nil {
				t.Errorf("JoinListener = %v, want nil", err)
			}
			awaitSnapshot(t, tie(t, m), "it is gone", func(l []*mesh.Instance) bool { return len(l) == 0 })
		})
	}
}

func TestAServerThatEndsByItselfLeavesTheMesh(t *testing.T) {
	m := toskatest.New(t)
	server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}
	result := make(chan error, 1)
	go func() { result <- toska.JoinListener(t.Context(), "orders", server, m.Options()...) }()
	awaitSnapshot(t, tie(t, m), "it is registered", func(l []*mesh.Instance) bool { return len(l) == 1 })
	_ = server.Close()
	if err := <-result; err != nil {
		t.Errorf("JoinListener = %v, want nil for a server that was closed in order", err)
	}
	awaitSnapshot(t, tie(t, m), "it is gone", func(l []*mesh.Instance) bool { return len(l) == 0 })
}
