package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/proxy"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	ups "github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// breakingBody panics when it is read.
type breakingBody struct{ exchange.NoBody }

func (breakingBody) Next() ([]byte, error)    { panic("made to panic") }
func (breakingBody) Buffered() ([]byte, bool) { return nil, false }

// breakingAnswer panics when a body is written to it; its tunnel does so in one of the directions.
type breakingAnswer struct {
	exchange.Answer
	tunnel exchange.Tunnel
}

func (breakingAnswer) Write([]byte, bool) error { panic("made to panic") }

func (a breakingAnswer) Tunnel(h *exchange.Head) (exchange.Tunnel, error) {
	if a.tunnel != nil {
		return a.tunnel, nil
	}
	return a.Answer.Tunnel(h)
}

// breakingTunnel panics in one direction, and waits in the other until it is aborted.
type breakingTunnel struct {
	reading bool
	gone    chan struct{}
	abort   func()
}

func newBreakingTunnel(reading bool) *breakingTunnel {
	b := &breakingTunnel{reading: reading, gone: make(chan struct{})}
	b.abort = sync.OnceFunc(func() { close(b.gone) })
	return b
}

func (b *breakingTunnel) Next() ([]byte, error) {
	if b.reading {
		panic("made to panic")
	}
	<-b.gone
	return nil, exchange.ErrClientGone
}
func (b *breakingTunnel) Write([]byte) (int, error)  { panic("made to panic") }
func (b *breakingTunnel) Until(time.Time)            {}
func (b *breakingTunnel) Wake()                      {}
func (b *breakingTunnel) WriteUntil(time.Time) error { return nil }
func (b *breakingTunnel) Draining() bool             { return false }
func (b *breakingTunnel) CloseWrite() error          { return nil }
func (b *breakingTunnel) Abort()                     { b.abort() }

func TestAPanicBesideAnExchangeEndsThatExchangeAndIsLogged(t *testing.T) {
	for _, row := range []struct {
		name, raw string
		answers   func(c net.Conn)
		spoil     func(*exchange.Exchange)
		says      string
	}{
		{"in an upload", "POST /api/svc/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n", swallow,
			func(x *exchange.Exchange) { x.Body = breakingBody{} }, "in an upload"},
		{"in a tunnel towards the endpoint", upgradeRequest, echoing,
			func(x *exchange.Exchange) { x.Answer = breakingAnswer{x.Answer, newBreakingTunnel(true)} }, "in a tunnel"},
		{"in a tunnel towards the client", upgradeRequest, echoing,
			func(x *exchange.Exchange) { x.Answer = breakingAnswer{x.Answer, newBreakingTunnel(false)} }, "in a tunnel"},
		{"in the exchange itself while it uploads", "POST /api/svc/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n", answerEarly,
			func(x *exchange.Exchange) { x.Answer = breakingAnswer{x.Answer, nil} }, "made to panic"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newSpoiled(t, newUpstream(t, row.answers), row.spoil)
			if answer := p.send(t, row.raw); strings.Contains(answer, "200") {
				t.Errorf("the client was answered %q", answer)
			}
			rec := <-p.records
			if rec.Code != "TOSKA-INTERNAL" || rec.ClientGone {
				t.Errorf("recorded %+v, want an error of our own", rec)
			}
			for _, want := range []string{"panic in an exchange", "made to panic", row.says} {
				if !strings.Contains(p.logged.String(), want) {
					t.Errorf("the log does not say %q:\n%s", want, p.logged.String())
				}
			}
			// What it held is given back, and the gateway goes on.
			u, e := p.endpoint()
			waitFor(t, "the link is closed", func() bool { return e.Connections.(*http1.Pool).Open() == 0 })
			if n := e.InFlight(); n != 0 {
				t.Errorf("%d requests are in flight at %s of %s, want none", n, e.Addr, u)
			}
		})
	}
}

// swallow reads until its client ends.
func swallow(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// answerEarly answers the head, before any body.
func answerEarly(c net.Conn) {
	br := bufio.NewReader(c)
	_ = readHead(br)
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf")
	_, _ = io.Copy(io.Discard, br)
}

// spoiled is a data plane whose exchanges are spoiled before they are forwarded.
type spoiled struct {
	table   *route.Table
	srv     *http1.Server
	records chan exchange.Record
	logged  lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

type handlerFunc func(context.Context, *exchange.Exchange)

func (f handlerFunc) ServeExchange(ctx context.Context, x *exchange.Exchange) { f(ctx, x) }

func newSpoiled(t *testing.T, endpoint string, spoil func(*exchange.Exchange)) *spoiled {
	t.Helper()
	s := &spoiled{records: make(chan exchange.Record, 1)}
	links := http1.DefaultLinkConfig()
	p := proxy.New(proxy.Config{Table: func() *route.Table { return s.table }, Internal: internalOK{}, Links: &links})
	host, port := splitHostPort(t, endpoint)
	s.table = route.Build(nil, route.Input{Prefix: route.DefaultPrefix, Snapshot: &mesh.Snapshot{
		Revision: mesh.Revision{Epoch: 1, Number: 1},
		Services: map[string][]*mesh.Instance{"svc": {{ID: "svc-0", Service: "svc", Address: host, Port: port}}},
	}}, p.Open)
	s.srv = &http1.Server{
		Handler:  handlerFunc(func(ctx context.Context, x *exchange.Exchange) { spoil(x); p.ServeExchange(ctx, x) }),
		Observer: s, Limits: http1.DefaultLimits(), Timeouts: http1.DefaultTimeouts(),
		Buffers: http1.NewBuffers(http1.DefaultLimits()), Log: slog.New(slog.NewJSONHandler(&s.logged, nil)), Scheme: "http",
	}
	return s
}

// Observe implements exchange.Observer.
func (s *spoiled) Observe(x *exchange.Exchange) { s.records <- x.Record }

// send serves one connection with one request, and returns what was answered when it has ended.
func (s *spoiled) send(t *testing.T, raw string) string {
	t.Helper()
	near, far := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		http1.NewConn(s.srv, near).Serve(t.Context(), func() bool { return false })
	}()
	if err := far.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(far, raw); err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(far) // it ends with the connection
	_ = far.Close()
	<-served
	return string(b)
}

func (s *spoiled) endpoint() (service string, e *ups.Endpoint) {
	s.table.Each(func(u *ups.Upstream, is *ups.Endpoint) { service, e = u.Service, is })
	return service, e
}
