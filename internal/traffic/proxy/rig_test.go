package proxy_test

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/listen"
	"github.com/toska-mesh/toska-mesh/internal/traffic/poll"
	"github.com/toska-mesh/toska-mesh/internal/traffic/proxy"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
	pool "github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// rig is a gateway's data plane on a real listener, before a service "svc" of the given endpoints.
type rig struct {
	t       testing.TB
	addr    string
	records chan observed
	table   atomic.Pointer[route.Table]
	proxy   *proxy.Proxy
	input   route.Input // of the table
	server  *listen.Server
	ln      net.Listener
	stop    context.CancelFunc
	stopped chan struct{}
}

// mode is how connections are carried.
type mode int

const (
	loops mode = iota // by event loops, where there are some
	raw               // by goroutines that read their descriptors
	plain             // by goroutines, through net.Conn alone
)

var modes = []mode{loops, raw, plain}

func (m mode) String() string { return [...]string{"loops", "raw", "plain"}[m] }

type rigConfig struct {
	how      mode
	perTry   time.Duration
	policy   route.Policy
	trusted  bool // loopback is a trusted proxy
	timeouts http1.Timeouts
	prefix   string
	metadata map[string]string
	// change is made to each instance.
	change func(*mesh.Instance)
	// file is a configuration file with routes.
	file     string
	draining bool
	// setChange is made to what is configured.
	setChange func(*route.Set)
	// dial opens the connections to endpoints; nil dials TCP.
	dial func(ctx context.Context, addr string) (net.Conn, error)
	wait time.Duration
	// secure has the endpoints spoken to over TLS, by what the function returns.
	secure func() (*tls.Config, error)
	// header is the version of the PROXY header to endpoints.
	header int
	// redirect is the port that everything is redirected to; empty to serve it.
	redirect string
	// listenTLS is spoken on the listener; nil for a plain one.
	listenTLS *tls.Config
}

// trusts is loopback, if anybody.
func (c *rigConfig) trusts(a netip.Addr) bool { return c.trusted && a.IsLoopback() }

// set configures attempts as the tests want them: one, unless they are about retries.
func (c *rigConfig) set(t testing.TB) *route.Set {
	t.Helper()
	set := &route.Set{}
	if c.file != "" {
		f, problems := routefile.Parse("mesh.yaml", []byte(c.file))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		set = &f.Set
	}
	policy := c.policy
	policy.PerTry = cmp.Or(policy.PerTry, c.perTry)
	policy.Connect = cmp.Or(policy.Connect, 500*time.Millisecond)
	policy.Attempts = cmp.Or(policy.Attempts, 1)
	policy.Body = cmp.Or(policy.Body, set.Defaults.Body)
	policy.Rate = cmp.Or(policy.Rate, set.Defaults.Rate)
	policy.Ceiling = cmp.Or(policy.Ceiling, set.Defaults.Ceiling)
	set.Defaults = policy
	if c.header != 0 && len(set.Services) == 0 {
		set.Services = []route.ServiceSpec{{Name: "svc", Proxy: c.header}}
	}
	if c.setChange != nil {
		c.setChange(set)
	}
	return set
}

func newRig(t testing.TB, cfg rigConfig, endpoints ...string) *rig {
	t.Helper()
	r := &rig{t: t, records: make(chan observed, 4096), stopped: make(chan struct{})}
	links := http1.DefaultLinkConfig()
	links.PlainReads = cfg.how == plain
	links.Dial = cfg.dial
	p := proxy.New(proxy.Config{Table: func() *route.Table { return r.table.Load() }, Internal: internalOK{}, Links: &links,
		TLS: func(pool.TLS) func() (*tls.Config, error) { return cfg.secure }})
	if cfg.secure != nil {
		cfg.metadata = map[string]string{"scheme": "https"}
	}
	snap := &mesh.Snapshot{Revision: mesh.Revision{Epoch: 1, Number: 1}, Services: map[string][]*mesh.Instance{}}
	for i, ep := range endpoints {
		host, port := splitHostPort(t, ep)
		in := &mesh.Instance{ID: fmt.Sprintf("svc-%d", i), Service: "Svc", Address: host, Port: port, Metadata: cfg.metadata, Draining: cfg.draining}
		if cfg.change != nil {
			cfg.change(in)
		}
		snap.Services["svc"] = append(snap.Services["svc"], in)
	}
	if cfg.prefix == "" {
		cfg.prefix = route.DefaultPrefix
	}
	r.proxy, r.input = p, route.Input{Prefix: cfg.prefix, Snapshot: snap, Set: cfg.set(t)}
	r.table.Store(route.Build(nil, r.input, p.Open))
	if cfg.timeouts == (http1.Timeouts{}) {
		cfg.timeouts = http1.DefaultTimeouts()
	}
	var h exchange.Handler = p
	if cfg.redirect != "" {
		h = &proxy.Redirect{Port: cfg.redirect, Next: p}
	}
	log := slog.New(slog.NewTextHandler(testWriter{t}, nil))
	r.server = &listen.Server{
		HTTP: &http1.Server{
			Handler: h, Observer: r, Limits: http1.DefaultLimits(), Timeouts: cfg.timeouts,
			Buffers: http1.NewBuffers(http1.DefaultLimits()), Log: log, Scheme: "http", PlainReads: cfg.how == plain, Trusted: cfg.trusts,
		},
		Loops: newLoops(t, cfg.how),
		Wait:  cfg.wait, Grace: 2 * time.Second, Log: log, TLS: cfg.listenTLS,
	}
	ln := listenLocal(t)
	r.addr, r.ln = ln.Addr().String(), ln
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() {
		defer close(r.stopped)
		if err := r.server.Serve(ctx, ln); err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	t.Cleanup(func() {
		stop()
		<-r.stopped
		_ = ln.Close()
	})
	return r
}

// newLoops returns running loops; nil where there are none, and for other modes.
func newLoops(t testing.TB, how mode) *poll.Loops {
	t.Helper()
	if how != loops {
		return nil
	}
	ls, err := poll.New(1) // one, so that exchanges find each other's links
	if errors.Is(err, poll.ErrUnsupported) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); ls.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return ls
}

// observed is what the gateway noted of an exchange.
type observed struct {
	exchange.Record
	host string
	peer netip.Addr
}

func (r *rig) Observe(x *exchange.Exchange) {
	r.records <- observed{Record: x.Record, host: string(x.Request.Host), peer: x.Request.Peer()}
}

// record returns what the gateway noted of the next exchange that ended.
func (r *rig) record() observed {
	r.t.Helper()
	select {
	case rec := <-r.records:
		return rec
	case <-time.After(5 * time.Second):
		r.t.Fatal("no exchange ended within 5 s")
		return observed{}
	}
}

func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// send writes raw bytes on a new connection and reads everything until the gateway closes it.
func (r *rig) send(raw string) string {
	r.t.Helper()
	c := r.dial()
	if _, err := io.WriteString(c, raw); err != nil {
		r.t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		r.t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil && len(b) == 0 {
		r.t.Fatal(err)
	}
	return string(b)
}

// answers reads n answers off a connection.
func answers(t testing.TB, c net.Conn, method string, n int) []*http.Response {
	t.Helper()
	br := bufio.NewReader(c)
	var out []*http.Response
	for range n {
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("answer %d: %v", len(out)+1, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("answer %d: body: %v", len(out)+1, err)
		}
		_ = resp.Body.Close()
		resp.Body = io.NopCloser(strings.NewReader(string(body)))
		out = append(out, resp)
	}
	return out
}

type internalOK struct{}

func (internalOK) ServeExchange(_ context.Context, x *exchange.Exchange) {
	h := exchange.Head{Status: 200, Length: 2}
	_ = x.Answer.Start(&h)
	_ = x.Answer.Write([]byte("ok"), true)
	_ = x.Answer.End(nil)
}

// recorder is an upstream that keeps the raw bytes of each request that it saw and answers with what
// it was told to.
type recorder struct {
	addr string

	mu       sync.Mutex
	requests []string
	conns    int
	answer   func(n int, head string) string

	// onHead is told of each head, before its body; set it before the first request.
	onHead chan struct{} // guarded by mu
	served sync.WaitGroup
}

// newRecorder answers every request with the given raw answer, or 200 with the body "ok".
func newRecorder(t testing.TB, answer string) *recorder {
	t.Helper()
	if answer == "" {
		answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	}
	return newRecorderFunc(t, func(int, string) string { return answer })
}

// newRecorderFunc asks for the answer with the number of the request and its head. An empty one closes
// the connection; one that ends with "<close>" is sent without that and then closed.
func newRecorderFunc(t testing.TB, answer func(n int, head string) string) *recorder {
	t.Helper()
	rec := &recorder{answer: answer}
	ln := listenLocal(t)
	rec.addr = ln.Addr().String()
	var wg sync.WaitGroup
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			rec.mu.Lock()
			rec.conns++
			open[c] = true
			rec.mu.Unlock()
			rec.served.Add(1)
			wg.Go(func() {
				defer rec.served.Done()
				defer func() {
					rec.mu.Lock()
					delete(open, c)
					rec.mu.Unlock()
					_ = c.Close()
				}()
				rec.serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		rec.mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		rec.mu.Unlock()
		wg.Wait()
	})
	return rec
}

func (rec *recorder) serve(c net.Conn) {
	br := bufio.NewReader(c)
	for {
		head, body, ok := readRaw(br, rec.headSeen)
		rec.mu.Lock()
		if head != "" {
			rec.requests = append(rec.requests, head+body)
		}
		n := len(rec.requests)
		rec.mu.Unlock()
		if !ok {
			return
		}
		answer := rec.answer(n, head)
		text, closing := strings.CutSuffix(answer, "<close>")
		if _, err := io.WriteString(c, text); err != nil || closing || answer == "" {
			return
		}
	}
}

// readRaw reads one request as it came: the head with its empty line, and the body still encoded.
func readRaw(br *bufio.Reader, onHead func()) (head, body string, ok bool) {
	var b strings.Builder
	length, chunked := 0, false
	for {
		line, err := br.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return b.String(), "", false
		}
		if line == "\r\n" {
			break
		}
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch strings.ToLower(name) {
		case "content-length":
			_, _ = fmt.Sscan(value, &length)
		case "transfer-encoding":
			chunked = true
		}
	}
	onHead()
	if chunked {
		var body strings.Builder
		ok := readChunks(br, &body)
		return b.String(), body.String(), ok
	}
	p := make([]byte, length)
	n, err := io.ReadFull(br, p)
	return b.String(), string(p[:n]), err == nil
}

// readChunks reads a chunked body with its trailers, and keeps it as it came.
func readChunks(br *bufio.Reader, to *strings.Builder) bool {
	last := false
	for {
		line, err := br.ReadString('\n')
		to.WriteString(line)
		if err != nil {
			return false
		}
		if last {
			if line == "\r\n" {
				return true
			}
			continue
		}
		size := 0
		if _, err := fmt.Sscanf(line, "%x", &size); err != nil {
			return false
		}
		if last = size == 0; last {
			continue
		}
		data := make([]byte, size+2)
		n, err := io.ReadFull(br, data)
		to.Write(data[:n])
		if err != nil {
			return false
		}
	}
}

// headSeen tells whoever waits for it that a head came.
func (rec *recorder) headSeen() {
	rec.mu.Lock()
	ch := rec.onHead
	rec.mu.Unlock()
	if ch != nil {
		ch <- struct{}{}
	}
}

// tellHeads sends to ch for each head that comes, before its body.
func (rec *recorder) tellHeads(ch chan struct{}) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.onHead = ch
}

// waitClosed waits until the connections that were made so far have ended.
func (rec *recorder) waitClosed(t testing.TB) {
	t.Helper()
	done := make(chan struct{})
	go func() { rec.served.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("the gateway kept a connection to the upstream open for 5 s")
	}
}

// newEarly returns the address of an upstream that answers each head at once and reads no body.
func newEarly(t testing.TB, answer string) string {
	t.Helper()
	return newUpstream(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				return
			}
			if line == "\r\n" {
				break
			}
		}
		_, _ = io.WriteString(c, answer)
		_, _ = io.Copy(io.Discard, br)
	})
}

// newUpstream returns the address of an upstream whose connections are served by serve, which returns
// when its connection breaks.
func newUpstream(t testing.TB, serve func(c net.Conn)) string {
	t.Helper()
	ln := listenLocal(t)
	newUpstreamOn(t, ln, serve)
	return ln.Addr().String()
}

// upstream is one that can be killed.
type upstream struct {
	ln net.Listener
	wg sync.WaitGroup

	mu   sync.Mutex
	open []net.Conn // guarded by mu
}

func newUpstreamOn(t testing.TB, ln net.Listener, serve func(c net.Conn)) *upstream {
	t.Helper()
	u := &upstream{ln: ln}
	u.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			u.mu.Lock()
			u.open = append(u.open, c)
			u.mu.Unlock()
			u.wg.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(u.kill)
	return u
}

// kill closes everything at once, as the end of a process does.
func (u *upstream) kill() {
	_ = u.ln.Close()
	u.mu.Lock()
	for _, c := range u.open {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	u.mu.Unlock()
	u.wg.Wait()
}

// saw returns the requests that the upstream saw.
func (rec *recorder) saw() []string {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return append([]string(nil), rec.requests...)
}

func (rec *recorder) connections() int {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.conns
}

func listenLocal(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func splitHostPort(t testing.TB, hostPort string) (string, int) {
	t.Helper()
	host, portText, err := net.SplitHostPort(hostPort)
	if err != nil {
		t.Fatal(err)
	}
	port := 0
	if _, err := fmt.Sscan(portText, &port); err != nil {
		t.Fatal(err)
	}
	return host, port
}

func statusOf(answer string) int {
	n := 0
	if len(answer) > 12 {
		_, _ = fmt.Sscan(answer[9:12], &n)
	}
	return n
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// waitFor polls for something that another goroutine brings about.
func waitFor(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatalf("not within 5 s: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}
