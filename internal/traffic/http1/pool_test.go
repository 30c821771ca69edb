package http1_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
)

// noAnswer is what a link tells of when nobody is at the far end.
type noAnswer struct{ exchange.Answer }

func (noAnswer) Interim(int, exchange.Fields) error { return nil }
func (noAnswer) Flush() error                       { return nil }

// endpoint serves connections with a raw answer for each request.
func endpoint(t *testing.T, answer string) (addr string, conns func() []net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var open []net.Conn
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() {
				br := bufio.NewReader(c)
				for {
					req, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					if _, err := io.WriteString(c, answer); err != nil {
						return
					}
				}
			})
		}
	})
	conns = func() []net.Conn {
		mu.Lock()
		defer mu.Unlock()
		return append([]net.Conn(nil), open...)
	}
	t.Cleanup(func() {
		_ = ln.Close()
		for _, c := range conns() {
			_ = c.Close()
		}
		wg.Wait()
	})
	return ln.Addr().String(), conns
}

func newPool(addr string, plain bool) *http1.Pool {
	cfg := http1.DefaultLinkConfig()
	cfg.PlainReads = plain
	return http1.NewPool(addr, &cfg)
}

func use(t *testing.T, l *http1.Link) {
	t.Helper()
	if err := l.Send([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Receive([]byte("GET"), time.Second, noAnswer{}); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := l.Body().Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	l.Release()
}

func get(t *testing.T, p *http1.Pool) *http1.Link {
	t.Helper()
	l, err := p.Get(t.Context(), time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestAPoolHandsOutWhatWasUsedLast(t *testing.T) {
	addr, _ := endpoint(t, okAnswer)
	p := newPool(addr, false)
	a, b := get(t, p), get(t, p)
	if a.Used() || p.Open() != 2 || p.Addr() != addr {
		t.Errorf("used %v, %d open, at %s", a.Used(), p.Open(), p.Addr())
	}
	use(t, a)
	use(t, b)
	if l := get(t, p); l != b || !l.Used() {
		t.Error("want the link that was used last")
	}
	if l := get(t, p); l != a {
		t.Error("then the other one")
	}
	if l := get(t, p); l == a || l == b {
		t.Error("then a new one")
	}
}

func TestALinkGoesBackOnlyIfItIsAsItWas(t *testing.T) {
	for _, tc := range []struct {
		name, answer string
		back         bool
	}{
		{"a length", okAnswer, true},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n", true},
		{"no body", "HTTP/1.1 204 No Content\r\n\r\n", true},
		{"HTTP/1.0 that stays", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", true},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false},
		{"asked to close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false},
		{"more than it said", okAnswer + "x", false},
	} {
		for _, plain := range []bool{false, true} {
			addr, _ := endpoint(t, tc.answer)
			p := newPool(addr, plain)
			l := get(t, p)
			use(t, l)
			if got := get(t, p); (got == l) != tc.back {
				t.Errorf("%s, plain=%v: it came back %v, want %v", tc.name, plain, got == l, tc.back)
			}
		}
	}
}

func TestALinkThatIsNotReadToItsEndIsClosed(t *testing.T) {
	addr, _ := endpoint(t, okAnswer)
	p := newPool(addr, false)
	l := get(t, p)
	_ = l.Send([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n"))
	if _, err := l.Receive([]byte("GET"), time.Second, noAnswer{}); err != nil {
		t.Fatal(err)
	}
	l.Release()
	if p.Open() != 0 {
		t.Errorf("%d links are open", p.Open())
	}
}

func TestAnIdleLinkThatDiedIsNotHandedOut(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(c net.Conn)
	}{
		{"closed", func(c net.Conn) { _ = c.Close() }},
		{"half closed", func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() }},
		{"reset", func(c net.Conn) {
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}},
		{"speaks unasked", func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil") }},
	} {
		for _, plain := range []bool{false, true} {
			addr, conns := endpoint(t, okAnswer)
			p := newPool(addr, plain)
			l := get(t, p)
			use(t, l)
			tc.do(conns()[0])
			// It takes a moment to arrive, even here.
			for end := time.Now().Add(5 * time.Second); ; {
				got := get(t, p)
				if got != l {
					break
				}
				if time.Now().After(end) {
					t.Errorf("%s, plain=%v: it was handed out", tc.name, plain)
					break
				}
				use(t, got)
			}
			if p.Open() != 1 {
				t.Errorf("%s, plain=%v: %d links are open, want the new one", tc.name, plain, p.Open())
			}
		}
	}
}

func TestSweepClosesWhatLayIdleTooLong(t *testing.T) {
	addr, _ := endpoint(t, okAnswer)
	p := newPool(addr, false)
	a, b := get(t, p), get(t, p)
	use(t, a)
	use(t, b)
	p.Sweep(time.Now())
	if p.Open() != 2 {
		t.Errorf("%d links after a sweep that found nothing", p.Open())
	}
	p.Sweep(time.Now().Add(time.Hour))
	if p.Open() != 0 {
		t.Errorf("%d links after an hour", p.Open())
	}
}

func TestAClosedPoolKeepsNothing(t *testing.T) {
	addr, _ := endpoint(t, okAnswer)
	p := newPool(addr, false)
	idle, busy := get(t, p), get(t, p)
	use(t, idle)
	p.Close()
	if p.Open() != 1 {
		t.Errorf("%d links, want the busy one", p.Open())
	}
	use(t, busy)
	if p.Open() != 0 {
		t.Errorf("%d links after the busy one came back", p.Open())
	}
}

func TestADialThatFailsWrapsItsCause(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	p := newPool(ln.Addr().String(), false)
	_, err = p.Get(t.Context(), time.Second, nil)
	if !errors.Is(err, http1.ErrDial) || !strings.Contains(err.Error(), ln.Addr().String()) || p.Open() != 0 {
		t.Errorf("got %v, %d open", err, p.Open())
	}
}

func TestTheEndOfItsContextBreaksALink(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, plain := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		p := newPool(ln.Addr().String(), plain)
		l, err := p.Get(ctx, time.Second, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() {
			_ = l.Send([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n"))
			_, err := l.Receive([]byte("GET"), time.Minute, noAnswer{})
			got <- err
		}()
		cancel()
		select {
		case err := <-got:
			if err == nil {
				t.Error("an answer came from nobody")
			}
		case <-time.After(5 * time.Second):
			t.Error("it went on waiting")
		}
		l.Close()
	}
}

func TestAnInterruptThatComesFirstCounts(t *testing.T) {
	addr, _ := endpoint(t, okAnswer)
	p := newPool(addr, false)
	l := get(t, p)
	l.Interrupt()
	start := time.Now()
	if _, err := l.Receive([]byte("GET"), time.Minute, noAnswer{}); err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
	if err := l.Send([]byte("x")); err == nil {
		t.Error("an interrupted link sent")
	}
	if !l.Silent() {
		t.Error("not a byte came, and it is not silent")
	}
	l.Close()
}
