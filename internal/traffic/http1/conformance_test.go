package http1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange/exchangetest"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/poll"
)

func TestExchangesAreWhatThePortSays(t *testing.T) {
	t.Run("over TCP, read by descriptor", func(t *testing.T) {
		exchangetest.TestProtocol(t, func(tb testing.TB, h exchange.Handler) exchangetest.Client { return openTCP(tb, h, false) }, exchangetest.Can{})
	})
	t.Run("over TCP, read plainly", func(t *testing.T) {
		exchangetest.TestProtocol(t, func(tb testing.TB, h exchange.Handler) exchangetest.Client { return openTCP(tb, h, true) }, exchangetest.Can{})
	})
	t.Run("over TCP, on an event loop", func(t *testing.T) {
		loops := newLoops(t)
		exchangetest.TestProtocol(t, func(tb testing.TB, h exchange.Handler) exchangetest.Client {
			server, far := loopedPair(tb, loops)
			return attendConn(tb, newServer(tb, h), server, far)
		}, exchangetest.Can{})
	})
	t.Run("over TLS", func(t *testing.T) {
		exchangetest.TestProtocol(t, func(tb testing.TB, h exchange.Handler) exchangetest.Client { return openTLS(tb, h) }, exchangetest.Can{})
	})
	t.Run("over a pipe", func(t *testing.T) {
		exchangetest.TestProtocol(t, func(tb testing.TB, h exchange.Handler) exchangetest.Client {
			server, client := net.Pipe()
			return serveConn(tb, newServer(tb, h), server, client)
		}, exchangetest.Can{Window: 128 << 10})
	})
}

func newServer(t testing.TB, h exchange.Handler) *http1.Server {
	t.Helper()
	return &http1.Server{
		Handler: h, Limits: http1.DefaultLimits(), Timeouts: http1.DefaultTimeouts(),
		Buffers: http1.NewBuffers(http1.DefaultLimits()), Log: slog.New(slog.DiscardHandler), Scheme: "http",
	}
}

func openTCP(t testing.TB, h exchange.Handler, plain bool) *client {
	t.Helper()
	srv := newServer(t, h)
	srv.PlainReads = plain
	server, far := tcpPair(t)
	return serveConn(t, srv, server, far)
}

// tcpPair returns both ends of a TCP connection.
func tcpPair(t testing.TB) (server, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if far, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return server, far
}

// newLoops returns a running loop, or skips where there are none.
func newLoops(t testing.TB) *poll.Loops {
	t.Helper()
	loops, err := poll.New(1)
	if errors.Is(err, poll.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { loops.Run(ctx) })
	t.Cleanup(func() {
		stop()
		wg.Wait()
	})
	return loops
}

// loopedPair is tcpPair with the server's end on a loop.
func loopedPair(t testing.TB, loops *poll.Loops) (server, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	shared, err := loops.Listen(ln.(*net.TCPListener))
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	if far, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = shared.Accept(); err != nil {
		t.Fatal(err)
	}
	return server, far
}

// attendConn is serveConn for a connection of a loop.
func attendConn(t testing.TB, srv *http1.Server, server, far net.Conn) *client {
	t.Helper()
	conn := http1.NewConn(srv, server)
	done := make(chan struct{})
	conn.Attend(t.Context(), func() bool { return false }, func() { close(done) })
	t.Cleanup(func() {
		_ = far.Close()
		conn.Abort()
		<-done
	})
	return &client{t: t, conn: far, br: bufio.NewReader(far)}
}

// serveConn serves one end of a connection and returns a client on the other.
func serveConn(t testing.TB, srv *http1.Server, server, far net.Conn) *client {
	t.Helper()
	conn := http1.NewConn(srv, server)
	var wg sync.WaitGroup
	wg.Go(func() { conn.Serve(t.Context(), func() bool { return false }) })
	t.Cleanup(func() {
		_ = far.Close()
		conn.Abort()
		wg.Wait()
	})
	return &client{t: t, conn: far, br: bufio.NewReader(far)}
}

// client is an exchangetest.Client that speaks HTTP/1.1 by hand.
type client struct {
	t    testing.TB
	conn net.Conn
	br   *bufio.Reader
}

func (c *client) Close() { _ = c.conn.Close() }

func (c *client) HalfClose() bool {
	half, ok := c.conn.(interface{ CloseWrite() error })
	return ok && half.CloseWrite() == nil
}

func (c *client) Start(r exchangetest.Request) exchangetest.Stream {
	c.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: exchange.test\r\n", r.Method, r.Target)
	for _, f := range r.Fields {
		fmt.Fprintf(&b, "%s: %s\r\n", f.Name, f.Value)
	}
	switch {
	case r.Length == exchange.Unknown:
		b.WriteString("Transfer-Encoding: chunked\r\n")
	case r.Length > 0:
		fmt.Fprintf(&b, "Content-Length: %d\r\n", r.Length)
	}
	if r.Expect {
		b.WriteString("Expect: 100-continue\r\n")
	}
	if r.Trailers {
		b.WriteString("Connection: TE\r\nTE: trailers\r\n")
	}
	if r.WebSocket {
		b.WriteString("Connection: Upgrade\r\nUpgrade: websocket\r\n")
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(c.conn, b.String()); err != nil {
		c.t.Fatalf("send head: %v", err)
	}
	return &stream{c: c, method: r.Method, chunked: r.Length == exchange.Unknown}
}

type stream struct {
	c       *client
	method  string
	chunked bool

	next *http.Response // read, and not yet returned
	resp *http.Response
}

func (s *stream) Write(p []byte) error {
	if s.chunked && len(p) > 0 {
		p = slices.Concat(fmt.Appendf(nil, "%x\r\n", len(p)), p, []byte("\r\n"))
	}
	_, err := s.c.conn.Write(p)
	return err
}

func (s *stream) End(trailers ...exchangetest.Field) error {
	if !s.chunked {
		return nil
	}
	b := []byte("0\r\n")
	for _, f := range trailers {
		b = fmt.Appendf(b, "%s: %s\r\n", f.Name, f.Value)
	}
	_, err := s.c.conn.Write(append(b, "\r\n"...))
	return err
}

func (s *stream) Cancel() { s.c.Close() }

func (s *stream) receive() error {
	if s.next != nil {
		return nil
	}
	resp, err := http.ReadResponse(s.c.br, &http.Request{Method: s.method})
	s.next = resp
	return err
}

func (s *stream) Interim() (int, []exchangetest.Field, bool) {
	if err := s.receive(); err != nil || s.next.StatusCode >= 200 {
		return 0, nil, false
	}
	a := toAnswer(s.next)
	s.next = nil
	return a.Status, a.Fields, true
}

func (s *stream) Answer() (exchangetest.Answer, error) {
	for {
		if err := s.receive(); err != nil {
			return exchangetest.Answer{}, err
		}
		resp := s.next
		s.next = nil
		if resp.StatusCode >= 200 || resp.StatusCode == 101 {
			s.resp = resp
			return toAnswer(resp), nil
		}
	}
}

func (s *stream) Read(p []byte) (int, error) {
	switch {
	case s.resp == nil:
		return 0, errors.New("no answer was read")
	case s.resp.StatusCode == 101:
		return s.c.br.Read(p)
	}
	return s.resp.Body.Read(p)
}

func (s *stream) Trailers() []exchangetest.Field { return toFields(s.resp.Trailer) }

func toAnswer(resp *http.Response) exchangetest.Answer {
	return exchangetest.Answer{Status: resp.StatusCode, Fields: toFields(resp.Header), Length: resp.ContentLength}
}

func toFields(h http.Header) (out []exchangetest.Field) {
	for name, values := range h {
		for _, v := range values {
			out = append(out, exchangetest.Field{Name: name, Value: v})
		}
	}
	return out
}
