package app_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/wire/healthapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// patient is a real service whose health check can be made to fail.
func patient(t *testing.T) (port int, sick *atomic.Bool) {
	t.Helper()
	sick = &atomic.Bool{}
	ln := listenLocal(t)
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" && sick.Load() {
			http.Error(w, "disk full", http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, "served "+r.URL.Path) // the client tells
	})}
	go func() { _ = srv.Serve(ln) }() // ends with Close
	t.Cleanup(func() { _ = srv.Close() })
	return portOf(t, ln), sick
}

func (r *running) status(path string) int {
	status, _ := r.gateway(path)
	return status
}

func TestAnInstanceWhoseCheckFailsIsOutUntilItPasses(t *testing.T) {
	r := start(t, t.TempDir(), nil)
	port, sick := patient(t)
	r.register(mesh.Registration{Service: "web", ID: "web-1", Address: "127.0.0.1", Port: port, Lifetime: mesh.Permanent,
		Check: &mesh.Check{HTTP: "/health", Interval: time.Second, Up: 1, Down: 1}})
	r.until("the service is routed", func() bool { return r.status("/api/web/") == 200 })
	sick.Store(true)
	r.until("U-3 a failing check takes it out of rotation, and without another there is a 503", func() bool { return r.status("/api/web/") == 503 })
	_, body := r.get("http://" + r.Addresses["control"] + "/api/v1/instances/web-1")
	for _, want := range []string{`"health":"failing"`, `"healthBy":"probe"`, `"healthOutput":"500 Internal Server Error: disk full"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the instance is %s, want %s", body, want)
		}
	}
	if _, body := r.get("http://" + r.Addresses["control"] + "/api/Status/web"); !strings.Contains(body, `"lastProbeType":"http"`) ||
		!strings.Contains(body, "disk full") {
		t.Errorf("the health monitor's answer is %s", body)
	}
	sick.Store(false)
	r.until("a passing check brings it back", func() bool { return r.status("/api/web/") == 200 })

	c := healthapi.NewClient(r.Addresses["control"], r.ServiceToken)
	defer c.Close()
	sick.Store(true)
	st, err := c.ProbeNow(t.Context(), "web-1")
	if err != nil || st.OK || st.Health != mesh.Failing {
		t.Errorf("ProbeNow = %+v, %v", st, err)
	}
	list, err := c.Probes(t.Context(), "WEB")
	if err != nil || len(list) != 1 || list[0].ID != "web-1" {
		t.Errorf("Probes = %+v, %v", list, err)
	}
	_, metrics := r.get("http://" + r.Addresses["control"] + "/metrics")
	for _, want := range []string{"toska_probe_targets{", `toska_probes_total{kind="http",result="failed"`, "toska_probe_lateness_seconds_bucket{"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
}

func TestAServiceThatListensOnAnotherPortThanItRegisteredIsFound(t *testing.T) {
	r := start(t, t.TempDir(), nil)
	ln := listenLocal(t)
	port := portOf(t, ln)
	_ = ln.Close()
	r.register(mesh.Registration{Service: "web", ID: "web-1", Address: "127.0.0.1", Port: port, Lifetime: mesh.Permanent,
		Check: &mesh.Check{Interval: time.Second, Down: 1}})
	r.until("a port that nobody listens on is told by the probe", func() bool {
		_, body := r.get("http://" + r.Addresses["control"] + "/api/v1/instances/web-1")
		return strings.Contains(body, `"healthBy":"probe"`) && strings.Contains(body, "connection refused")
	})
}

func TestTheFilesCheckIsInForceAndReloaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	const check = "services:\n  Web: {check: {http: /health, interval: 1s, up: 1, down: 1}}\n"
	write(check)
	for _, roles := range []string{"all", "discovery,health"} {
		t.Run(roles, func(t *testing.T) {
			write(check)
			r := startWith(t, t.TempDir(), nil, func(c *app.Config) {
				c.Roles = app.ParseRoles(roles)
				if err := c.UseFile(path, func(string) bool { return true }); err != nil {
					t.Fatal(err)
				}
			})
			port, sick := patient(t)
			sick.Store(true)
			r.register(mesh.Registration{Service: "web", ID: "web-1", Address: "127.0.0.1", Port: port, Lifetime: mesh.Permanent})
			instance := func(want string) func() bool {
				return func() bool {
					_, body := r.get("http://" + r.Addresses["control"] + "/api/v1/instances/web-1")
					return strings.Contains(body, want)
				}
			}
			r.until("the file's check fails", instance(`"health":"failing"`))
			write("services: {}\n")
			r.until("without a check nothing keeps it out", instance(`"health":"passing"`))
		})
	}
}

func TestTheFamilysClientsAskForACheck(t *testing.T) {
	r := start(t, t.TempDir(), nil)
	port, _ := patient(t)
	r.register(mesh.Registration{Service: "web", ID: "web-1", Address: "127.0.0.1", Port: port, Lifetime: mesh.Permanent,
		Metadata: map[string]string{"health_check_endpoint": "/health"}})
	for _, at := range []string{"control", "discovery"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
			"http://"+r.Addresses[at]+"/api/ServiceRegistration/health/check/web-1", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), "The check passed: 200 OK: served /health") {
			t.Errorf("on %s: %d %s, %v", at, resp.StatusCode, body, err)
		}
	}
}
