package app_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/nodeapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// requestLog keeps the access log of a node.
type requestLog struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *requestLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

type requestLine struct {
	Path        string `json:"path"`
	Service     string `json:"service"`
	Status      int    `json:"status"`
	Attempts    int    `json:"attempts"`
	Agent       string `json:"user_agent"`
	Correlation string `json:"correlation_id"`
	Trace       string `json:"trace_id"`
}

// lines returns what fits.
func (l *requestLog) lines(t *testing.T, fits func(requestLine) bool) (out []requestLine) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for b := range bytes.Lines(l.buf.Bytes()) {
		var line requestLine
		if err := json.Unmarshal(b, &line); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if fits(line) {
			out = append(out, line)
		}
	}
	return out
}

func startDemo(t *testing.T, dir string) (*running, *requestLog) {
	t.Helper()
	log := &requestLog{}
	r := startWith(t, dir, nil, func(c *app.Config) { c.Demo, c.AccessLog, c.Stdout = true, "-", log })
	status := nodeapi.NewClient(r.Addresses["control"], r.AdminToken)
	defer status.Close()
	r.until("all of the demo is routed", func() bool {
		st, err := status.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st.Table.Endpoints == 7
	})
	return r, log
}

// instances counts the instances of each service.
func (r *running) instances() map[string]int {
	r.t.Helper()
	c := discoveryapi.NewClient(r.Addresses["control"], r.ServiceToken)
	defer c.Close()
	snap, err := c.Snapshot(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[string]int{}
	for name, list := range snap.Services {
		out[name] = len(list)
	}
	return out
}

func TestTheDemoIsRegisteredWhenTheNodeIsReadyAndIsAsked(t *testing.T) {
	r, log := startDemo(t, t.TempDir())
	want := map[string]int{"hello": 2, "slow": 1, "flaky": 3, "orders": 1}
	got := r.instances()
	for name, n := range want {
		if got[name] != n {
			t.Errorf("%s has %d instances, want %d", name, got[name], n)
		}
	}
	r.until("the demo's requests are in the access log", func() bool {
		return len(log.lines(t, func(l requestLine) bool {
			return l.Agent == "toska-demo" && l.Status == 200 && strings.HasPrefix(l.Correlation, "demo-")
		})) >= 3
	})
	for _, path := range []string{"hello/you", "slow/", "orders/1"} {
		if code, body := r.gateway("/api/" + path); code != 200 || !strings.Contains(body, `"instance":"demo-`) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if _, body := r.gateway("/metrics"); !strings.Contains(body, `service="hello"`) {
		t.Error("the series do not tell of the demo")
	}
}

func TestTheDemosFailuresAreRetriedAndNoClientSeesThem(t *testing.T) {
	r, log := startDemo(t, t.TempDir())
	for range 60 {
		if code, body := r.gateway("/api/flaky/"); code != 200 {
			t.Fatalf("flaky: %d %s", code, body)
		}
	}
	r.until("requests that were retried are in the access log", func() bool {
		return len(log.lines(t, func(l requestLine) bool { return l.Service == "flaky" && l.Attempts == 2 && l.Status == 200 })) > 0
	})
	if failed := log.lines(t, func(l requestLine) bool { return l.Status != 200 }); len(failed) > 0 {
		t.Errorf("failed: %+v", failed)
	}
}

func TestTheDemosOrdersAreTiedToWhatTheyAskOfHello(t *testing.T) {
	r, log := startDemo(t, t.TempDir())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.Addresses["gateway"]+"/api/orders/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Correlation-ID", "of-this-test")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("orders: %s", resp.Status)
	}
	var lines []requestLine
	r.until("both are in the access log", func() bool {
		lines = log.lines(t, func(l requestLine) bool { return l.Correlation == "of-this-test" })
		return len(lines) == 2
	})
	if lines[0].Trace != lines[1].Trace || lines[0].Service == lines[1].Service {
		t.Errorf("they are not of one trace: %+v", lines)
	}
}

func TestTheDemoLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	r, log := startDemo(t, dir)
	r.until("the demo is asked", func() bool { return len(log.lines(t, func(requestLine) bool { return true })) > 2 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if failed := log.lines(t, func(l requestLine) bool { return l.Status != 200 }); len(failed) > 0 {
		t.Errorf("the stop cost requests: %+v", failed)
	}
	again := start(t, dir, nil)
	if left := again.instances(); len(left) > 0 {
		t.Errorf("still registered: %v", left)
	}
	again.until("none is routed", func() bool { code, _ := again.gateway("/api/hello/"); return code == 404 })
}

func TestAnInstanceOfTheDemoThatIsDeregisteredStaysOut(t *testing.T) {
	r, log := startDemo(t, t.TempDir())
	c := discoveryapi.NewClient(r.Addresses["control"], r.ServiceToken)
	defer c.Close()
	if err := c.Deregister(t.Context(), mesh.Ref{ID: "demo-flaky-3"}); err != nil {
		t.Fatal(err)
	}
	before := len(log.lines(t, func(requestLine) bool { return true }))
	r.until("the others are asked all the same", func() bool {
		return len(log.lines(t, func(l requestLine) bool { return l.Status == 200 })) > before+4
	})
	if n := r.instances()["flaky"]; n != 2 {
		t.Errorf("flaky has %d instances, want 2", n)
	}
}

func TestTheDemoTakesOverWhatAKilledOneLeft(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, nil)
	r.register(mesh.Registration{Service: "hello", ID: "demo-hello-1", Address: "127.0.0.1", Port: 9, Lifetime: mesh.Permanent})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	again, _ := startDemo(t, dir)
	if n := again.instances()["hello"]; n != 2 {
		t.Errorf("hello has %d instances, want 2", n)
	}
	if code, body := again.gateway("/api/hello/"); code != 200 {
		t.Errorf("hello: %d %s", code, body)
	}
}

func TestTheDemoIsNotPutBesideAServiceThatSomebodyMeans(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, nil)
	r.register(mesh.Registration{Service: "Orders", ID: "mine", Address: "127.0.0.1", Port: service(t), Lifetime: mesh.Permanent})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	with := beginWith(t, dir, nil, func(c *app.Config) { c.Demo = true })
	var err error
	select {
	case err = <-with.done:
		with.stopped = true
	case <-with.ready:
	}
	if !errors.Is(err, mesh.ErrConflict) || !strings.Contains(err.Error(), "orders") || !strings.Contains(err.Error(), "--data") {
		t.Errorf("the node ended with %v, want a conflict that names the service", err)
	}
}

func TestTheDemoNeedsDiscoveryAndTheGateway(t *testing.T) {
	cfg := app.DefaultConfig()
	cfg.Demo, cfg.Roles = true, []string{app.RoleDiscovery}
	if err := cfg.Validate(); !errors.Is(err, mesh.ErrInvalid) || !strings.Contains(err.Error(), "needs the roles discovery and gateway") {
		t.Errorf("without the gateway: %v", err)
	}
	cfg.Roles = []string{app.RoleDiscovery, app.RoleGateway}
	if err := cfg.Validate(); err != nil {
		t.Errorf("with both: %v", err)
	}
}
