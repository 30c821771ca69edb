package listen_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/listen"
)

// gate is a handler that answers once it is let, and tells of each exchange that came.
type gate struct {
	came chan struct{}
	let  chan struct{}
}

func (g *gate) ServeExchange(ctx context.Context, x *exchange.Exchange) {
	g.came <- struct{}{}
	select {
	case <-g.let:
	case <-ctx.Done():
		return
	}
	_ = x.Answer.Start(&exchange.Head{Status: 200, Length: 2})
	_ = x.Answer.Write([]byte("ok"), true)
	_ = x.Answer.End(nil)
}

type bench struct {
	t    *testing.T
	srv  *listen.Server
	ln   net.Listener
	gate *gate
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, change func(*listen.Server)) *bench {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, ln: ln, gate: &gate{came: make(chan struct{}, 64), let: make(chan struct{})}}
	log := slog.New(slog.DiscardHandler)
	b.srv = &listen.Server{
		HTTP: &http1.Server{
			Handler: b.gate, Limits: http1.DefaultLimits(), Timeouts: http1.DefaultTimeouts(),
			Buffers: http1.NewBuffers(http1.DefaultLimits()), Log: log, Scheme: "http",
		},
		Grace: 5 * time.Second, Log: log,
	}
	if change != nil {
		change(b.srv)
	}
	b.run()
	t.Cleanup(func() {
		b.stop()
		_ = ln.Close()
	})
	return b
}

func (b *bench) run() {
	ctx, stop := context.WithCancel(context.Background())
	b.stop, b.done = stop, make(chan error, 1)
	go func() { b.done <- b.srv.Serve(ctx, b.ln) }()
}

func (b *bench) dial() net.Conn {
	b.t.Helper()
	c, err := net.Dial("tcp", b.ln.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

func ask(c net.Conn) { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n") }

func (b *bench) ended(within time.Duration) error {
	b.t.Helper()
	select {
	case err := <-b.done:
		return err
	case <-time.After(within):
		b.t.Fatalf("Serve did not end within %v", within)
		return nil
	}
}

func (b *bench) waitOpen(n int) {
	b.t.Helper()
	for end := time.Now().Add(5 * time.Second); b.srv.Connections() != n; {
		if time.Now().After(end) {
			b.t.Fatalf("%d connections are open, want %d", b.srv.Connections(), n)
		}
		<-time.After(time.Millisecond)
	}
}

func TestIdleConnectionsAreClosedAndActiveOnesFinish(t *testing.T) {
	b := start(t, nil)
	idle, active := b.dial(), b.dial()
	ask(active)
	<-b.gate.came
	b.waitOpen(2)
	b.stop()
	if p, err := io.ReadAll(idle); len(p) != 0 || err != nil {
		t.Errorf("U-12: the idle connection ended with %q, %v", p, err)
	}
	select {
	case err := <-b.done:
		t.Fatalf("U-12: Serve ended with %v before the exchange", err)
	default:
	}
	close(b.gate.let)
	p, err := io.ReadAll(active)
	if err != nil || !strings.HasSuffix(string(p), "\r\n\r\nok") {
		t.Errorf("U-12: the active connection ended with %q, %v", p, err)
	}
	_ = active.Close()
	if err := b.ended(2 * time.Second); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if n := b.srv.Connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func TestAnExchangeThatOutlastsTheGraceIsBrokenOff(t *testing.T) {
	b := start(t, func(s *listen.Server) { s.Grace = 30 * time.Millisecond })
	c := b.dial()
	ask(c)
	<-b.gate.came
	b.stop()
	if err := b.ended(3 * time.Second); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if p, err := io.ReadAll(c); len(p) != 0 {
		t.Errorf("the client got %q, %v", p, err)
	}
}

func TestAClientThatHangsInItsHeadOrBodyIsBrokenOff(t *testing.T) {
	for _, raw := range []string{"GET / HTTP/1.1\r\nHo", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na"} {
		b := start(t, func(s *listen.Server) {
			s.Grace = 30 * time.Millisecond
			s.HTTP.Handler = reading{s.HTTP.Handler.(*gate)}
		})
		c := b.dial()
		_, _ = io.WriteString(c, raw)
		b.waitOpen(1)
		if strings.HasPrefix(raw, "POST") {
			<-b.gate.came
		}
		b.stop()
		if err := b.ended(3 * time.Second); err != nil {
			t.Errorf("%q: Serve: %v", raw, err)
		}
	}
}

// reading is a handler that reads its body and looks at no context.
type reading struct{ *gate }

func (r reading) ServeExchange(_ context.Context, x *exchange.Exchange) {
	r.came <- struct{}{}
	for {
		if _, err := x.Body.Next(); err != nil {
			return
		}
	}
}

func TestItGoesOnAcceptingWhileItWaits(t *testing.T) {
	b := start(t, func(s *listen.Server) { s.Wait = 300 * time.Millisecond })
	close(b.gate.let)
	before := b.dial()
	ask(before)
	<-b.gate.came
	b.stop()
	c := b.dial() // after the stop, within the wait
	ask(c)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("a connection within the wait got %v, %v", resp, err)
	}
	_, _ = c.Close(), before.Close()
	if err := b.ended(3 * time.Second); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestAServerServesAgain(t *testing.T) {
	b := start(t, nil)
	close(b.gate.let)
	for round := range 3 {
		c := b.dial()
		ask(c)
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
			t.Fatalf("round %d: %v, %v", round, resp, err)
		}
		_ = c.Close()
		b.stop()
		if err := b.ended(3 * time.Second); err != nil {
			t.Fatalf("round %d: Serve: %v", round, err)
		}
		b.run()
	}
}

func TestAClosedListenerIsAnErrorThatDrains(t *testing.T) {
	b := start(t, nil)
	c := b.dial()
	ask(c)
	<-b.gate.came
	_ = b.ln.Close()
	close(b.gate.let)
	if p, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(p), "ok") {
		t.Errorf("the exchange under way got %q, %v", p, err)
	}
	_ = c.Close()
	if err := b.ended(3 * time.Second); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve ended with %v, want net.ErrClosed", err)
	}
}

// faulty is a listener whose first accepts fail.
type faulty struct {
	net.Listener
	mu    sync.Mutex
	fails int // guarded by mu
}

func (f *faulty) Accept() (net.Conn, error) {
	f.mu.Lock()
	left := f.fails
	f.fails--
	f.mu.Unlock()
	if left > 0 {
		return nil, &net.OpError{Op: "accept", Err: errors.New("too many open files")}
	}
	return f.Listener.Accept()
}

func (f *faulty) SetDeadline(t time.Time) error { return f.Listener.(*net.TCPListener).SetDeadline(t) }

func TestAcceptingGoesOnAfterItFailed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	b := start(t, nil)
	b.stop()
	if err := b.ended(3 * time.Second); err != nil {
		t.Fatal(err)
	}
	close(b.gate.let)
	b.ln = &faulty{Listener: ln, fails: 3}
	b.run()
	c := b.dial()
	ask(c)
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("after failed accepts a connection got %v, %v", resp, err)
	}
	_ = c.Close()
	b.stop()
	if err := b.ended(3 * time.Second); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestConnectionsOfTheDrainsLastMomentAreClosed(t *testing.T) {
	// Whatever was accepted is served or closed: nothing waits for the grace.
	for range 30 {
		b := start(t, nil)
		close(b.gate.let)
		var wg sync.WaitGroup
		for range 8 {
			c := b.dial()
			wg.Go(func() {
				ask(c)
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			})
		}
		b.stop()
		if err := b.ended(3 * time.Second); err != nil {
			t.Fatalf("Serve: %v", err)
		}
		_ = b.ln.Close()
		wg.Wait()
	}
}

func TestAListenerDrainsByItself(t *testing.T) {
	one := start(t, nil)
	two := start(t, func(s *listen.Server) { s.HTTP = one.srv.HTTP })
	idle, here, there := one.dial(), one.dial(), two.dial()
	one.waitOpen(2)
	for _, c := range []net.Conn{here, there} {
		ask(c)
		<-one.gate.came
	}
	one.stop()
	_, _ = io.Copy(io.Discard, idle) // it is closed once the drain has begun
	one.gate.let <- struct{}{}
	one.gate.let <- struct{}{}
	for _, row := range []struct {
		name string
		c    net.Conn
		last bool
	}{{"the one that drains", here, true}, {"the other", there, false}} {
		resp, err := http.ReadResponse(bufio.NewReader(row.c), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("U-12: %s: %v, %v", row.name, resp, err)
		}
		if resp.Close != row.last {
			t.Errorf("U-12: %s says that this is its last answer: %v, want %v", row.name, resp.Close, row.last)
		}
	}
	if err := one.ended(5 * time.Second); err != nil {
		t.Error(err)
	}
	again := two.dial()
	ask(again)
	<-one.gate.came
	one.gate.let <- struct{}{}
	if resp, err := http.ReadResponse(bufio.NewReader(again), nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("U-12: the listener that goes on answered %v, %v", resp, err)
	}
}
