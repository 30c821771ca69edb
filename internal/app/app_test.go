package app_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/nodeapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// running is a node in the test's process.
type running struct {
	app.Ready
	t       *testing.T
	stop    func() error
	stopped bool
	ready   chan app.Ready
	done    chan error
}

type wrap = func(unit string, run func(context.Context, func()) error) func(context.Context, func()) error

func start(t *testing.T, dir string, with wrap) *running {
	t.Helper()
	return startWith(t, dir, with, nil)
}

// startWith starts a node with a changed configuration, and waits until it is ready.
func startWith(t *testing.T, dir string, with wrap, change func(*app.Config)) *running {
	t.Helper()
	r := beginWith(t, dir, with, change)
	r.awaitReady()
	return r
}

// beginWith starts a node and does not wait.
func beginWith(t *testing.T, dir string, with wrap, change func(*app.Config)) *running {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	cfg := app.DefaultConfig()
	cfg.DataDir, cfg.Wrap = dir, with
	cfg.ListenControl, cfg.ListenDiscovery = "127.0.0.1:0", "127.0.0.1:0"
	cfg.ListenGateway = freeAddress(t)
	cfg.AccessLog = "off"
	cfg.Log = slog.New(slog.NewTextHandler(testLog{t}, nil))
	if change != nil {
		change(&cfg)
	}
	a, err := app.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, ready: make(chan app.Ready, 1), done: make(chan error, 1)}
	// The gateway's is known before the node is ready.
	r.Addresses = map[string]string{"gateway": cfg.ListenGateway}
	go func() { r.done <- a.Run(ctx, func(p app.Ready) { r.ready <- p }) }()
	r.stop = func() error {
		cancel()
		if r.stopped {
			return nil
		}
		r.stopped = true
		return <-r.done
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("the node: %v", err)
		}
	})
	return r
}

func (r *running) awaitReady() {
	r.t.Helper()
	select {
	case r.Ready = <-r.ready:
	case err := <-r.done:
		r.stopped = true
		r.t.Fatalf("the node ended: %v", err)
	case <-time.After(20 * time.Second):
		r.t.Fatal("the node was not ready within 20 s")
	}
}

// freeAddress is an address that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln := listenLocal(t)
	_ = ln.Close()
	return ln.Addr().String()
}

// holdStore keeps the store from being opened until the channel is closed.
func holdStore(until <-chan struct{}) wrap {
	return func(unit string, run func(context.Context, func()) error) func(context.Context, func()) error {
		if unit != "store" {
			return run
		}
		return func(ctx context.Context, ready func()) error {
			select {
			case <-until:
			case <-ctx.Done():
			}
			return run(ctx, ready)
		}
	}
}

func (r *running) get(url string) (int, string) {
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

func (r *running) gateway(path string) (int, string) {
	return r.get("http://" + r.Addresses["gateway"] + path)
}

func (r *running) register(reg mesh.Registration) {
	r.t.Helper()
	c := discoveryapi.NewClient(r.Addresses["control"], r.ServiceToken)
	defer c.Close()
	if _, err := c.Register(r.t.Context(), reg); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) until(what string, f func() bool) {
	r.t.Helper()
	for end := time.Now().Add(15 * time.Second); !f(); {
		if time.Now().After(end) {
			r.t.Fatalf("not within 15 s: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// service is a real service on a free port.
func service(t *testing.T) (port int) {
	t.Helper()
	ln := listenLocal(t)
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "served "+r.URL.Path) // the client tells
	})}
	go func() { _ = srv.Serve(ln) }() // ends with Close
	t.Cleanup(func() { _ = srv.Close() })
	return portOf(t, ln)
}

func TestAServiceIsReachedThroughTheGatewayAndSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, nil)
	r.register(mesh.Registration{Service: "web", Address: "127.0.0.1", Port: service(t), Lifetime: mesh.Permanent})
	r.until("the service is routed", func() bool { status, _ := r.gateway("/api/web/hello"); return status == 200 })
	if _, body := r.gateway("/api/WEB/hello"); body != "served /hello" {
		t.Errorf("body %q, want that of /hello", body)
	}
	node := r.NodeID
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, dir, nil)
	if again.NodeID != node {
		t.Errorf("the node's id changed from %s to %s", node, again.NodeID)
	}
	if status, body := again.gateway("/api/web/again"); status != 200 {
		t.Errorf("after the restart: %d %s", status, body)
	}
}

func TestARoleThatFailsOrPanicsComesBackWhileRequestsKeepFlowing(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func() error
	}{
		{"by an error", func() error { return errors.New("made to fail") }},
		{"by a panic", func() error { panic("made to panic") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			breakIt := make(chan struct{})
			var runs atomic.Int32
			r := start(t, t.TempDir(), func(unit string, run func(context.Context, func()) error) func(context.Context, func()) error {
				if unit != app.RoleDiscovery {
					return run
				}
				return func(ctx context.Context, ready func()) error {
					if runs.Add(1) > 1 {
						return run(ctx, ready)
					}
					inner, cancel := context.WithCancel(ctx)
					done := make(chan error, 1)
					go func() { done <- run(inner, ready) }()
					select {
					case <-ctx.Done():
						cancel()
						return <-done
					case <-breakIt:
					}
					cancel()
					if err := <-done; err != nil {
						t.Errorf("discovery, told to stop: %v", err)
					}
					return tt.fail()
				}
			})
			r.register(mesh.Registration{Service: "web", Address: "127.0.0.1", Port: service(t), Lifetime: mesh.Permanent})
			r.until("the service is routed", func() bool { status, _ := r.gateway("/api/web/"); return status == 200 })

			close(breakIt)
			status := nodeapi.NewClient(r.Addresses["control"], r.AdminToken)
			var down, up bool
			r.until("discovery went down and came back", func() bool {
				if code, body := r.gateway("/api/web/"); code != 200 {
					t.Fatalf("a request failed meanwhile: %d %s", code, body)
				}
				st, err := status.Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, role := range st.Roles {
					if role.Name == app.RoleDiscovery {
						down = down || role.State == "restarting" && strings.Contains(role.Reason, "made to")
						up = down && role.State == "ready" && role.Restarts == 1
					}
				}
				return up
			})
			r.register(mesh.Registration{Service: "late", Address: "127.0.0.1", Port: service(t), Lifetime: mesh.Permanent})
			r.until("what joins now is routed", func() bool { code, _ := r.gateway("/api/late/"); return code == 200 })
		})
	}
}

func TestTheGatewaysOwnFailureKeepsItsPortAndItsTable(t *testing.T) {
	breakIt := make(chan struct{})
	var runs atomic.Int32
	r := start(t, t.TempDir(), func(unit string, run func(context.Context, func()) error) func(context.Context, func()) error {
		if unit != app.RoleGateway {
			return run
		}
		return func(ctx context.Context, ready func()) error {
			if runs.Add(1) > 1 {
				return run(ctx, ready)
			}
			inner, cancel := context.WithCancel(ctx)
			defer cancel()
			stop := context.AfterFunc(ctx, cancel)
			defer stop()
			go func() {
				select {
				case <-breakIt:
				case <-inner.Done():
				}
				cancel()
			}()
			if err := run(inner, ready); err != nil || ctx.Err() != nil {
				return err
			}
			return errors.New("made to fail")
		}
	})
	r.register(mesh.Registration{Service: "web", Address: "127.0.0.1", Port: service(t), Lifetime: mesh.Permanent})
	r.until("the service is routed", func() bool { status, _ := r.gateway("/api/web/"); return status == 200 })
	close(breakIt)
	// A request that arrives while nobody accepts waits in the listener's queue.
	r.until("the gateway runs again", func() bool {
		if code, body := r.gateway("/api/web/"); code != 200 {
			t.Fatalf("a request failed: %d %s", code, body)
		}
		return runs.Load() == 2
	})
}

func TestHealthIsOpenOnTheGatewayAndTellsOnlyItsStatus(t *testing.T) {
	r := start(t, t.TempDir(), nil)
	for _, path := range []string{"/health", "/health/live", "/health/ready", "/livez", "/readyz"} {
		if code, body := r.gateway(path); code != 200 || body != "{\"status\":\"Healthy\"}\n" {
			t.Errorf("%s: %d %q", path, code, body)
		}
		if code, _ := r.get("http://" + r.Addresses["control"] + path); code != 200 {
			t.Errorf("control %s: %d", path, code)
		}
	}
	if code, _ := r.gateway("/health/../api/v1/status"); code != 404 {
		t.Errorf("a path beside the list: %d, want 404", code)
	}
	if code, body := r.get("http://" + r.Addresses["control"] + "/readyz?verbose"); code != 200 || !strings.Contains(body, app.RoleDiscovery) {
		t.Errorf("readyz?verbose: %d %s", code, body)
	}
}

func TestAListenerOfTheControlPlaneServesAgainAfterItsUnitFailed(t *testing.T) {
	breakIt := make(chan struct{})
	var runs atomic.Int32
	r := start(t, t.TempDir(), func(unit string, run func(context.Context, func()) error) func(context.Context, func()) error {
		if unit != "control" {
			return run
		}
		return func(ctx context.Context, ready func()) error {
			if runs.Add(1) > 1 {
				return run(ctx, ready)
			}
			inner, cancel := context.WithCancel(ctx)
			defer cancel()
			go func() {
				select {
				case <-breakIt:
				case <-inner.Done():
				}
				cancel()
			}()
			if err := run(inner, ready); err != nil || ctx.Err() != nil {
				return err
			}
			return errors.New("made to fail")
		}
	})
	close(breakIt)
	r.until("control answers in its second run", func() bool {
		code, _ := r.get("http://" + r.Addresses["control"] + "/livez")
		return code == 200 && runs.Load() == 2
	})
}

func TestTheGatewaysOwnPathsAreNotForPagesOfOtherSites(t *testing.T) {
	r := start(t, t.TempDir(), nil)
	for _, tt := range []struct {
		name, host, origin string
		want               int
	}{
		{"N-14 a foreign host name", "evil.example", "", 403},
		{"N-14 a page of another origin", "127.0.0.1", "http://evil.example", 403},
		{"its own address", "127.0.0.1", "", 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.Addresses["gateway"]+"/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = tt.host
		if tt.origin != "" {
			req.Header.Set("Origin", tt.origin)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, resp.StatusCode, tt.want)
		}
	}
}

func TestAReadyFileOfAKilledNodeIsGoneBeforeTheNextOneStarts(t *testing.T) {
	cfg := app.DefaultConfig()
	cfg.DataDir = t.TempDir()
	cfg.ReadyFile = filepath.Join(t.TempDir(), "ready.json")
	cfg.ListenGateway, cfg.ListenControl, cfg.ListenDiscovery = "127.0.0.1:0", "127.0.0.1:0", listenLocal(t).Addr().String()
	if err := os.WriteFile(cfg.ReadyFile, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := app.New(cfg); err == nil {
		t.Fatal("started on a taken port")
	}
	if _, err := os.Stat(cfg.ReadyFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old ready file is still there: %v", err)
	}
}

func TestANodeRefusesWhatCannotWorkBeforeItTouchesAnything(t *testing.T) {
	taken := listenLocal(t)
	for _, tt := range []struct {
		name   string
		change func(*app.Config)
		want   []string
	}{
		{"a taken port names who holds it and the flag", func(c *app.Config) { c.ListenGateway = taken.Addr().String() },
			[]string{"taken by", "--listen-gateway", taken.Addr().String()}},
		{"an unknown role is named", func(c *app.Config) { c.Roles = []string{"gatway"} }, []string{"gatway", "all, discovery, gateway"}},
		{"probes alone lack their need", func(c *app.Config) { c.Roles = []string{"health"} }, []string{"health needs discovery"}},
		{"a gateway alone lacks its need", func(c *app.Config) { c.Roles = []string{"gateway"} }, []string{"nothing to serve", "add discovery"}},
		{"a prefix that is no path", func(c *app.Config) { c.RoutePrefix = "/a b/" }, []string{"route-prefix"}},
		{"a listener that is no address", func(c *app.Config) { c.ListenControl = "nowhere" }, []string{"--listen-control", "nowhere"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := app.DefaultConfig()
			cfg.DataDir = t.TempDir()
			cfg.ListenGateway, cfg.ListenControl, cfg.ListenDiscovery = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
			tt.change(&cfg)
			a, err := app.New(cfg)
			if err == nil {
				_ = a.Close()
				t.Fatal("was accepted")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}
