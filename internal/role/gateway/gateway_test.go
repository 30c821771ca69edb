package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/role/gateway"
	"github.com/toska-mesh/toska-mesh/internal/signal/accesslog"
	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// discovery is one whose watch yields what a test publishes, and breaks when it says so.
type discovery struct {
	mesh.Discovery // nothing else is called

	mu      sync.Mutex
	current *mesh.Snapshot // guarded by mu
	changed chan struct{}  // guarded by mu; closed at each change
	broken  error          // guarded by mu
	watches atomic.Int64
}

func newDiscovery() *discovery { return &discovery{changed: make(chan struct{})} }

func (d *discovery) set(s *mesh.Snapshot, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s != nil {
		d.current = s
	}
	d.broken = err
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *discovery) Watch(ctx context.Context, since mesh.Revision) iter.Seq2[*mesh.Snapshot, error] {
	d.watches.Add(1)
	return func(yield func(*mesh.Snapshot, error) bool) {
		for ctx.Err() == nil {
			d.mu.Lock()
			s, err, changed := d.current, d.broken, d.changed
			d.mu.Unlock()
			if err != nil {
				yield(nil, err)
				return
			}
			if s != nil && since.Before(s.Revision) {
				since = s.Revision
				if !yield(s, nil) {
					return
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// backend is an HTTP server that says its name and counts its connections.
type backend struct {
	*http.Server
	addr  string
	conns atomic.Int64
}

func newBackend(t *testing.T, name string) *backend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{addr: ln.Addr().String()}
	b.Server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "%s%s", name, r.URL.Path)
		}),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				b.conns.Add(1)
			}
		},
	}
	go func() { _ = b.Serve(ln) }()
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func (b *backend) instance(id, service string) *mesh.Instance {
	host, port, _ := net.SplitHostPort(b.addr)
	in := &mesh.Instance{ID: id, Service: service, Address: host}
	_, _ = fmt.Sscan(port, &in.Port)
	return in
}

func snapshot(number uint64, list ...*mesh.Instance) *mesh.Snapshot {
	s := &mesh.Snapshot{Revision: mesh.Revision{Epoch: 1, Number: number}, Services: map[string][]*mesh.Instance{}}
	for _, in := range list {
		key := mesh.ServiceKey(in.Service)
		s.Services[key] = append(s.Services[key], in)
	}
	return s
}

type internal struct{}

func (internal) ServeExchange(_ context.Context, x *exchange.Exchange) {
	_ = x.Answer.Start(&exchange.Head{Status: 200, Length: 8})
	_ = x.Answer.Write([]byte("internal"), true)
	_ = x.Answer.End(nil)
}

// buffer is a writer that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
	// discard keeps nothing
	discard bool // guarded by mu
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.discard {
		return len(p), nil
	}
	return b.b.Write(p)
}

func (b *buffer) lines(t *testing.T) (out []map[string]any) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	dec := json.NewDecoder(bytes.NewReader(b.b.Bytes()))
	for {
		var m map[string]any
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatalf("access log: %v in %q", err, b.b.Bytes())
		}
		out = append(out, m)
	}
}

type rig struct {
	t     *testing.T
	d     *discovery
	g     *gateway.Gateway
	ln    net.Listener
	log   buffer // the access log
	said  buffer // the gateway's own log
	ready chan struct{}
	stop  context.CancelFunc
	done  chan error
}

func newRig(t *testing.T, change func(*gateway.Config)) *rig {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, d: newDiscovery(), ln: ln}
	cfg := gateway.DefaultConfig()
	cfg.Wait, cfg.Grace = 0, 2*time.Second
	if change != nil {
		change(&cfg)
	}
	r.g, err = gateway.New(cfg, gateway.Ports{
		Discovery: r.d, Listeners: []gateway.Listener{{Name: "gateway", Listener: ln}}, Internal: internal{}, Signals: gateway.Signals{AccessLog: accesslog.New(&r.log)},
		Log: slog.New(slog.NewJSONHandler(&r.said, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.run()
	t.Cleanup(func() {
		r.stop()
		if err := <-r.done; err != nil {
			t.Errorf("Run: %v", err)
		}
		_ = ln.Close()
	})
	return r
}

func (r *rig) run() {
	ctx, stop := context.WithCancel(context.Background())
	r.ready, r.stop, r.done = make(chan struct{}), stop, make(chan error, 1)
	ready, done := r.ready, r.done
	go func() { done <- r.g.Run(ctx, func() { close(ready) }) }() // a second call would panic
}

// again ends Run and begins it anew.
func (r *rig) again() {
	r.t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		r.t.Errorf("Run: %v", err)
	}
	r.run()
}

func (r *rig) waitReady() {
	r.t.Helper()
	select {
	case <-r.ready:
	case <-time.After(5 * time.Second):
		r.t.Fatal("not ready within 5 s")
	}
}

// waitFor polls for something that another goroutine brings about.
func waitFor(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatalf("not within 5 s: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

func (r *rig) waitRevision(n uint64) {
	r.t.Helper()
	waitFor(r.t, fmt.Sprintf("revision %d is in force", n), func() bool {
		s := r.g.Table()
		return s != nil && s.Revision.Number >= n
	})
}

func (r *rig) get(path string, fields ...string) (int, string) {
	r.t.Helper()
	c, err := net.Dial("tcp", r.ln.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n"+strings.Join(fields, "")+"\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		r.t.Fatalf("get %s: %v", path, err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("get %s: %v", path, err)
	}
	return resp.StatusCode, string(b)
}

func TestAGatewayIsReadyWithItsFirstTable(t *testing.T) {
	r := newRig(t, nil)
	waitFor(t, "the gateway watches", func() bool { return r.d.watches.Load() > 0 })
	if r.g.Ready() || r.g.Table() != nil {
		t.Error("ready before there was a table")
	}
	if status, body := r.get("/api/web/x"); status != 503 || !strings.Contains(body, "TOSKA-ROUTE-NOT-READY") {
		t.Errorf("before the first table a request got %d, %s", status, body)
	}
	select {
	case <-r.ready:
		t.Error("ready was called before there was a table")
	default:
	}
	b := newBackend(t, "one")
	r.d.set(snapshot(7, b.instance("a", "Web")), nil)
	r.waitReady()
	if !r.g.Ready() {
		t.Error("not ready with a table")
	}
	s := r.g.Table()
	if s.Revision.Number != 7 || s.Services != 1 || s.Endpoints != 1 || s.BuiltAt.IsZero() {
		t.Errorf("table is %+v", s)
	}
	if status, body := r.get("/api/web/x"); status != 200 || body != "one/x" {
		t.Errorf("got %d, %s", status, body)
	}
}

func TestATableFollowsTheRegistry(t *testing.T) {
	r := newRig(t, nil)
	one, two := newBackend(t, "one"), newBackend(t, "two")
	web, shop := one.instance("a", "Web"), two.instance("b", "Shop")
	r.d.set(snapshot(1, web), nil)
	r.waitReady()
	if status, _ := r.get("/api/shop/x"); status != 404 {
		t.Errorf("a service that is not registered got %d", status)
	}
	r.d.set(snapshot(2, web, shop), nil)
	r.waitRevision(2)
	if status, body := r.get("/api/shop/x"); status != 200 || body != "two/x" {
		t.Errorf("a new service got %d, %s", status, body)
	}
	r.d.set(snapshot(3, shop), nil)
	r.waitRevision(3)
	if status, _ := r.get("/api/web/x"); status != 404 {
		t.Errorf("a service that is gone got %d", status)
	}
	if status, body := r.get("/readyz"); status != 200 || body != "internal" {
		t.Errorf("the gateway's own path got %d, %s", status, body)
	}
}

func TestOnlyWhatChangedLosesItsConnections(t *testing.T) {
	r := newRig(t, nil)
	one, two := newBackend(t, "one"), newBackend(t, "two")
	web, shop := one.instance("a", "Web"), two.instance("b", "Shop")
	r.d.set(snapshot(1, web, shop), nil)
	r.waitReady()
	r.get("/api/web/x")
	for n := range uint64(20) {
		// Shop changes each time, Web never does.
		changed := *shop
		changed.Health = mesh.Health(n % 2)
		changed.Metadata = map[string]string{"weight": fmt.Sprint(n + 1)}
		r.d.set(snapshot(n+2, web, &changed), nil)
		r.waitRevision(n + 2)
		if status, body := r.get("/api/web/x"); status != 200 || body != "one/x" {
			t.Fatalf("got %d, %s", status, body)
		}
	}
	// Each event loop has connections of its own.
	if n := int(one.conns.Load()); n > max(1, runtime.GOMAXPROCS(0)) {
		t.Errorf("%d connections to an instance that never changed, want one for each loop", n)
	}
}

func TestWhileDiscoveryIsAwayTheLastTableStays(t *testing.T) {
	r := newRig(t, nil)
	b := newBackend(t, "one")
	web := b.instance("a", "Web")
	r.d.set(snapshot(1, web), nil)
	r.waitReady()
	watches := r.d.watches.Load()
	t.Run("U-8 routes stay while the registry is gone", func(t *testing.T) {
		r.d.set(nil, mesh.ErrUnavailable)
		waitFor(t, "the gateway asks again", func() bool { return r.d.watches.Load() > watches+1 })
		if status, body := r.get("/api/web/x"); status != 200 || body != "one/x" || !r.g.Ready() {
			t.Errorf("without discovery a request got %d, %s; ready %v", status, body, r.g.Ready())
		}
	})
	t.Run("U-8 what came and went meanwhile is known when it is back", func(t *testing.T) {
		r.d.set(snapshot(2, newBackend(t, "two").instance("b", "Shop")), nil)
		r.waitRevision(2)
		if status, _ := r.get("/api/web/x"); status != 404 {
			t.Errorf("a service that is gone got %d", status)
		}
		if status, body := r.get("/api/shop/x"); status != 200 || body != "two/x" {
			t.Errorf("a new service got %d, %s", status, body)
		}
	})
}

func TestAGatewayRunsAgainWithTheTableItHad(t *testing.T) {
	r := newRig(t, nil)
	b := newBackend(t, "one")
	r.d.set(snapshot(1, b.instance("a", "Web")), nil)
	r.waitReady()
	for range 3 {
		r.get("/api/web/x")
		r.d.set(nil, mesh.ErrUnavailable) // discovery is of no help
		r.again()
		r.waitReady()
		if status, body := r.get("/api/web/x"); status != 200 || body != "one/x" || !r.g.Ready() {
			t.Errorf("after another Run a request got %d, %s; ready %v", status, body, r.g.Ready())
		}
	}
}

func TestAGatewayThatStopsIsNotReadyAndStillServes(t *testing.T) {
	r := newRig(t, func(c *gateway.Config) { c.Wait = 300 * time.Millisecond })
	b := newBackend(t, "one")
	r.d.set(snapshot(1, b.instance("a", "Web")), nil)
	r.waitReady()
	r.stop()
	waitFor(t, "readiness is off", func() bool { return !r.g.Ready() })
	// A change in this moment does not make it ready again.
	r.d.set(snapshot(2, b.instance("a", "Web")), nil)
	if status, body := r.get("/api/web/x"); status != 200 || body != "one/x" || r.g.Ready() {
		t.Errorf("U-12: within the wait a request got %d, %s; ready %v", status, body, r.g.Ready())
	}
}

func TestEachExchangeIsALineInTheLog(t *testing.T) {
	r := newRig(t, nil)
	b := newBackend(t, "one")
	r.d.set(snapshot(1, b.instance("a", "Web")), nil)
	r.waitReady()
	r.get("/api/web/x%2e?token=secret", "User-Agent: test/1\r\n", "X-Request-Id: abc\r\n", "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n")
	r.get("/api/nobody/x")
	r.get("/api/web/a%00b?token=secret")
	r.get("http://other.test/api/web/x")
	r.stop()
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
	r.done <- nil // for the cleanup
	lines := r.log.lines(t)
	if len(lines) != 4 {
		t.Fatalf("%d lines, want 4: %v", len(lines), lines)
	}
	for i, want := range []map[string]any{
		{"method": "GET", "path": "/api/web/x.", "host": "shop.test", "status": 200.0, "service": "Web", "endpoint": b.addr, "attempts": 1.0,
			"client": "127.0.0.1", "proto": "HTTP/1.1", "bytes_out": 6.0, "user_agent": "test/1", "request_id": "abc", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"},
		{"path": "/api/nobody/x", "status": 404.0, "code": "TOSKA-ROUTE-NONE"},
		{"path": "/api/web/a%00b", "status": 400.0, "code": "TOSKA-REQ-PATH"},
		{"path": "/api/web/x", "host": "other.test", "status": 200.0},
	} {
		// Each came on a connection of its own: the order of their lines is open.
		at := slices.IndexFunc(lines, func(l map[string]any) bool {
			return l["path"] == want["path"] && (want["host"] == nil || l["host"] == want["host"])
		})
		if at < 0 {
			t.Fatalf("no line of %v in %v", want["path"], lines)
		}
		for key, v := range want {
			if lines[at][key] != v {
				t.Errorf("line %d: %s is %v, want %v", i, key, lines[at][key], v)
			}
		}
		if i == 0 {
			if d, _ := lines[at]["upstream_ms"].(float64); d <= 0 {
				t.Errorf("upstream_ms is %v", lines[at]["upstream_ms"])
			}
		}
		if s := fmt.Sprint(lines[i]); strings.Contains(s, "secret") {
			t.Errorf("line %d tells the query: %s", i, s)
		}
	}
}

func TestALogThatFailsDoesNotStopTheGateway(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	d := newDiscovery()
	broken := make(chan struct{}, 1)
	g, err := gateway.New(gateway.DefaultConfig(), gateway.Ports{
		Discovery: d, Listeners: []gateway.Listener{{Name: "gateway", Listener: ln}}, Internal: internal{}, Signals: gateway.Signals{AccessLog: accesslog.New(failing{broken})}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, d: d, g: g, ln: ln}
	r.run()
	b := newBackend(t, "one")
	d.set(snapshot(1, b.instance("a", "Web")), nil)
	r.waitReady()
	r.get("/api/web/x")
	<-broken
	if status, _ := r.get("/api/web/x"); status != 200 {
		t.Errorf("after the log failed a request got %d", status)
	}
	r.stop()
	if err := <-r.done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

type failing struct{ told chan<- struct{} }

func (f failing) Write([]byte) (int, error) {
	select {
	case f.told <- struct{}{}:
	default:
	}
	return 0, errors.New("disk full")
}

func TestAPrefixThatIsNoneIsRefused(t *testing.T) {
	cfg := gateway.DefaultConfig()
	cfg.Prefix = "/a/../b"
	if _, err := gateway.New(cfg, gateway.Ports{}); err == nil || !strings.Contains(err.Error(), "/a/../b") {
		t.Errorf("got %v, want an error that names the prefix", err)
	}
}

func TestWithoutAnAccessLogNothingIsWritten(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	d := newDiscovery()
	cfg := gateway.DefaultConfig()
	cfg.Prefix, cfg.Wait = "", 0
	g, err := gateway.New(cfg, gateway.Ports{Discovery: d, Listeners: []gateway.Listener{{Name: "gateway", Listener: ln}}, Internal: internal{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, d: d, g: g, ln: ln}
	r.run()
	d.set(snapshot(1), nil)
	r.waitReady()
	if status, _ := r.get("/api/web/x"); status != 404 {
		t.Errorf("got %d", status)
	}
	r.stop()
	if err := <-r.done; err != nil {
		t.Errorf("Run: %v", err)
	}
}
