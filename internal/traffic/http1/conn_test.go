package http1_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
)

// serveFunc is a handler.
type serveFunc func(ctx context.Context, x *exchange.Exchange)

func (f serveFunc) ServeExchange(ctx context.Context, x *exchange.Exchange) { f(ctx, x) }

// sayOK reads the body and answers.
func sayOK(_ context.Context, x *exchange.Exchange) {
	for {
		if _, err := x.Body.Next(); err != nil {
			break
		}
	}
	_ = x.Answer.Start(&exchange.Head{Status: 200, Length: 2})
	_ = x.Answer.Write([]byte("ok"), true)
	_ = x.Answer.End(nil)
}

// seen keeps what an observer was told.
type seen struct {
	mu      sync.Mutex
	records []exchange.Record // guarded by mu
}

func (s *seen) Observe(x *exchange.Exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, x.Record)
}

func (s *seen) all() []exchange.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]exchange.Record(nil), s.records...)
}

func never() bool { return false }

// talk writes raw bytes to a connection that serves h, and returns everything that comes back.
func talk(t *testing.T, srv *http1.Server, raw string) string {
	t.Helper()
	server, far := tcpPair(t)
	var wg sync.WaitGroup
	c := http1.NewConn(srv, server)
	wg.Go(func() { c.Serve(t.Context(), never) })
	_, _ = io.WriteString(far, raw)
	_ = far.(*net.TCPConn).CloseWrite()
	b, _ := io.ReadAll(far)
	_ = far.Close()
	wg.Wait()
	return string(b)
}

func TestWhatIsRecordedOfAnExchange(t *testing.T) {
	var s seen
	srv := newServer(t, serveFunc(sayOK))
	srv.Observer = &s
	_ = talk(t, srv, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde"+
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"+
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n"+
		"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"+
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na"+
		"GET / HTTP/9.9\r\nHost: h\r\n\r\n")
	got := s.all()
	want := []exchange.Record{
		{Status: 200, BytesIn: 5, BytesOut: 2}, {Status: 200, BytesIn: 3, BytesOut: 2}, {Status: 200, BytesOut: 2}, {Status: 200},
		{Status: 200, BytesIn: 1, BytesOut: 2}, {Status: 505, Code: exchange.CodeVersion},
	}
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if g.Status != w.Status || g.BytesIn != w.BytesIn || i < 5 && g.BytesOut != w.BytesOut || g.Code != w.Code || g.Done.IsZero() {
			t.Errorf("record %d is %+v, want %+v", i, g, w)
		}
	}
}

func TestABodyThatNobodyReadIsSkipped(t *testing.T) {
	srv := newServer(t, serveFunc(func(_ context.Context, x *exchange.Exchange) {
		_ = x.Answer.Start(&exchange.Head{Status: 200, Length: 2})
		_ = x.Answer.Write([]byte("ok"), true)
		_ = x.Answer.End(nil)
	}))
	for name, req := range map[string]string{
		"a length": "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n" + strings.Repeat("GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n  ", 50000/36+1)[:50000],
		"chunks":   "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n25\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n  \r\n0\r\n\r\n",
	} {
		got := talk(t, srv, req+req)
		if n := strings.Count(got, "HTTP/1.1 200 OK"); n != 2 || strings.Count(got, "HTTP/1.1") != 2 {
			t.Errorf("%s: two requests got %q", name, got)
		}
	}
}

func TestABodyThatIsTooLongToSkipEndsTheConnection(t *testing.T) {
	srv := newServer(t, serveFunc(func(_ context.Context, x *exchange.Exchange) {
		exchange.Problem(x, 404, "TOSKA-ROUTE-NONE", "nothing here")
	}))
	size := 1 << 20
	got := talk(t, srv, fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))+"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if n := strings.Count(got, "HTTP/1.1 404 "); n > 1 {
		t.Errorf("got %d answers", n)
	}
}

func TestHTTP10(t *testing.T) {
	unknown := serveFunc(func(_ context.Context, x *exchange.Exchange) {
		_ = x.Answer.Interim(103, nil)
		_ = x.Answer.Start(&exchange.Head{Status: 200, Length: exchange.Unknown})
		_ = x.Answer.Write([]byte("ok"), true)
		_ = x.Answer.End(exchange.Fields{{Name: []byte("X"), Value: []byte("y")}})
	})
	for _, tc := range []struct {
		name    string
		h       exchange.Handler
		fields  string
		answers int
		want    string // a piece of the first answer
	}{
		{"closes after an answer", serveFunc(sayOK), "", 1, "Connection: close\r\n\r\nok"},
		{"stays open if it asked to", serveFunc(sayOK), "Connection: keep-alive\r\n", 2, "Connection: keep-alive\r\n\r\nok"},
		{"gets no chunks", unknown, "Connection: keep-alive\r\n", 1, "Connection: close\r\n\r\nok"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := "GET / HTTP/1.0\r\n" + tc.fields + "\r\n"
			got := talk(t, newServer(t, tc.h), req+req)
			if n := strings.Count(got, "HTTP/1.1 200 OK\r\n"); n != tc.answers || !strings.Contains(got, tc.want) || strings.Contains(got, "HTTP/1.1 103") {
				t.Errorf("got %q, want %d answers with %q", got, tc.answers, tc.want)
			}
		})
	}
}

func TestACutAnswerToHTTP10IsSeenToBeCut(t *testing.T) {
	server, far := tcpPair(t)
	var wg sync.WaitGroup
	c := http1.NewConn(newServer(t, serveFunc(func(_ context.Context, x *exchange.Exchange) {
		_ = x.Answer.Start(&exchange.Head{Status: 200, Length: exchange.Unknown})
		_ = x.Answer.Write([]byte("half"), true)
		_ = x.Answer.Flush()
	})), server)
	wg.Go(func() { c.Serve(t.Context(), never) })
	_, _ = io.WriteString(far, "GET / HTTP/1.0\r\n\r\n")
	if b, err := io.ReadAll(far); err == nil {
		t.Errorf("got %q and a clean end: nothing tells that it is half an answer", b)
	}
	_ = far.Close()
	wg.Wait()
}

// countingConn counts reads.
type countingConn struct {
	net.Conn
	reads atomic.Int64
}

func (c *countingConn) Read(p []byte) (int, error) {
	c.reads.Add(1)
	return c.Conn.Read(p)
}

func TestATunnelDoesNotReadByteByByte(t *testing.T) {
	const size = 256 << 10
	near, far := net.Pipe()
	conn := &countingConn{Conn: near}
	got := make(chan int, 1)
	c := serveConn(t, newServer(t, serveFunc(func(_ context.Context, x *exchange.Exchange) {
		tun, err := x.Answer.Tunnel(&exchange.Head{Status: 101})
		if err != nil {
			return
		}
		n := 0
		for n < size {
			p, err := tun.Next()
			if err != nil {
				break
			}
			n += len(p)
		}
		got <- n
	})), conn, far)
	_, _ = io.WriteString(far, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if resp, err := http.ReadResponse(c.br, nil); err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	for range size / 1024 {
		_, _ = far.Write(make([]byte, 1024))
	}
	if n := <-got; n != size {
		t.Errorf("%d bytes came through, want %d", n, size)
	}
	if n := conn.reads.Load(); n > size/1024+100 {
		t.Errorf("%d reads for %d pieces", n, size/1024)
	}
}

func TestASilentTunnelGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			http1.NewConn(newServer(t, serveFunc(func(_ context.Context, x *exchange.Exchange) {
				tun, err := x.Answer.Tunnel(&exchange.Head{Status: 101})
				for err == nil {
					var p []byte
					if p, err = tun.Next(); err == nil {
						_, err = tun.Write(p)
					}
				}
			})), near).Serve(context.Background(), never)
		}()
		_, _ = io.WriteString(far, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		br := bufio.NewReader(far)
		if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 101 {
			t.Fatal(resp, err)
		}
		for range 10 {
			time.Sleep(24 * time.Hour)
			go func() { _, _ = io.WriteString(far, "ping") }()
			p := make([]byte, 4)
			if _, err := io.ReadFull(br, p); string(p) != "ping" || err != nil {
				t.Fatalf("after a day of silence: %q, %v", p, err)
			}
		}
		_ = far.Close()
		<-done
	})
}

func TestAnswersHaveAnExactHead(t *testing.T) {
	for _, tc := range []struct {
		name string
		head exchange.Head
		want string
	}{
		{"no reason", exchange.Head{Status: 200, Length: 0}, "HTTP/1.1 200 OK\r\n"},
		{"a reason", exchange.Head{Status: 200, Reason: []byte("Fine"), Length: 0}, "HTTP/1.1 200 Fine\r\n"},
		{"a status without a standard reason", exchange.Head{Status: 299, Length: 0}, "HTTP/1.1 299 Status\r\n"},
		{"204 has no length", exchange.Head{Status: 204, Length: 0}, "!Content-Length"},
		{"304 says the length that it would have", exchange.Head{Status: 304, Length: 7, Bodiless: true}, "Content-Length: 7\r\n"},
		{"a date that was given", exchange.Head{Status: 200, Length: 0, Fields: exchange.Fields{{Name: []byte("Date"), Value: []byte("then"), Kind: exchange.Date}}}, "Date: then\r\n"},
		{"fields of the hop are left out", exchange.Head{Status: 200, Length: 0, Fields: exchange.Fields{{Name: []byte("Keep-Alive"), Value: []byte("x"), Kind: exchange.HopByHop}}}, "!Keep-Alive"},
		{"what Connection names is left out", exchange.Head{Status: 200, Length: 0, Nominated: [][]byte{[]byte("x-hop")}, Fields: exchange.Fields{{Name: []byte("X-Hop"), Value: []byte("x")}}}, "!X-Hop"},
		{"trailers are not announced to who takes none", exchange.Head{Status: 200, Length: 0, Fields: exchange.Fields{{Name: []byte("Trailer"), Value: []byte("x"), Kind: exchange.Trailer}}}, "!Trailer"},
		{"an answer may end the connection", exchange.Head{Status: 200, Length: 0, Close: true}, "Connection: close\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := talk(t, newServer(t, serveFunc(func(_ context.Context, x *exchange.Exchange) {
				_ = x.Answer.Start(&tc.head)
				_ = x.Answer.End(nil)
			})), "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			not, absent := strings.CutPrefix(tc.want, "!")
			if absent && strings.Contains(got, not) || !absent && !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if n := strings.Count(got, "Date: "); n != 1 {
				t.Errorf("%d dates in %q", n, got)
			}
		})
	}
}

func TestAHeadThatOutgrowsItsBufferIsWhole(t *testing.T) {
	long := strings.Repeat("v", 60<<10)
	got := talk(t, newServer(t, serveFunc(func(_ context.Context, x *exchange.Exchange) {
		_ = x.Answer.Start(&exchange.Head{Status: 200, Length: exchange.Unknown, Fields: exchange.Fields{{Name: []byte("X-Long"), Value: []byte(long)}}})
		_ = x.Answer.Write([]byte("body"), true)
		_ = x.Answer.End(nil)
	})), "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	br := bufio.NewReader(strings.NewReader(got))
	for range 2 {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); string(b) != "body" || err != nil || resp.Header.Get("X-Long") != long {
			t.Fatalf("body %q, %v", b, err)
		}
	}
}

func TestDrain(t *testing.T) {
	serve := func(srv *http1.Server, draining func() bool) (*http1.Conn, net.Conn, <-chan struct{}) {
		near, far := net.Pipe()
		c := http1.NewConn(srv, near)
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Serve(context.Background(), draining)
		}()
		return c, far, done
	}
	request := "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	t.Run("U-12 an idle connection is closed at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, far, done := serve(newServer(t, serveFunc(sayOK)), never)
			synctest.Wait()
			start := time.Now()
			c.Drain()
			b, err := io.ReadAll(far)
			<-done
			if len(b) != 0 || err != nil || time.Since(start) > 100*time.Millisecond {
				t.Errorf("got %q, %v after %v", b, err, time.Since(start))
			}
		})
	})
	t.Run("U-12 a connection that was never served is closed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			c := http1.NewConn(newServer(t, serveFunc(sayOK)), near)
			c.Drain() // before Serve had a chance
			start := time.Now()
			go c.Serve(context.Background(), func() bool { return true })
			if b, err := io.ReadAll(far); len(b) != 0 || err != nil || time.Since(start) > 100*time.Millisecond {
				t.Errorf("got %q, %v after %v", b, err, time.Since(start))
			}
		})
	})
	t.Run("U-12 a request that was on its way is served, with all the time that requests have", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, far, done := serve(newServer(t, serveFunc(sayOK)), func() bool { return true })
			synctest.Wait()
			c.Drain()
			_, _ = io.WriteString(far, "POST / HTTP/1.1\r\nHost: h\r\n")
			time.Sleep(5 * time.Second)
			_, _ = io.WriteString(far, "Content-Length: 3\r\n\r\na")
			time.Sleep(20 * time.Second)
			_, _ = io.WriteString(far, "bc")
			b, err := io.ReadAll(far)
			<-done
			if !strings.HasPrefix(string(b), "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(string(b), "Connection: close\r\n\r\nok") || err != nil {
				t.Errorf("got %q, %v", b, err)
			}
		})
	})
	t.Run("U-12 an exchange under way ends, and the connection after it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			let, draining := make(chan struct{}), false
			c, far, done := serve(newServer(t, serveFunc(func(ctx context.Context, x *exchange.Exchange) {
				<-let
				sayOK(ctx, x)
			})), func() bool { return draining })
			_, _ = io.WriteString(far, request)
			synctest.Wait()
			draining = true
			c.Drain()
			close(let)
			b, err := io.ReadAll(far)
			<-done
			if !strings.HasSuffix(string(b), "Connection: close\r\n\r\nok") || err != nil {
				t.Errorf("got %q, %v", b, err)
			}
		})
	})
	t.Run("U-12 a connection whose answer had begun is closed soon after", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			let, draining := make(chan struct{}), false
			c, far, done := serve(newServer(t, serveFunc(func(_ context.Context, x *exchange.Exchange) {
				_ = x.Answer.Start(&exchange.Head{Status: 200, Length: 2})
				_ = x.Answer.Flush()
				<-let
				_ = x.Answer.Write([]byte("ok"), true)
				_ = x.Answer.End(nil)
			})), func() bool { return draining })
			_, _ = io.WriteString(far, request)
			br := bufio.NewReader(far)
			resp, err := http.ReadResponse(br, nil)
			if err != nil || resp.Close {
				t.Fatal(resp, err)
			}
			synctest.Wait()
			draining = true
			c.Drain()
			close(let)
			start := time.Now()
			b, err := io.ReadAll(br)
			<-done
			if string(b) != "ok" || err != nil || time.Since(start) > 100*time.Millisecond {
				t.Errorf("got %q, %v after %v", b, err, time.Since(start))
			}
		})
	})
	t.Run("abort breaks off whatever is under way", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, far, done := serve(newServer(t, serveFunc(sayOK)), never)
			_, _ = io.WriteString(far, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n")
			synctest.Wait()
			c.Abort()
			_, _ = io.ReadAll(far)
			<-done
		})
	})
}

func TestAPanicIsToldToTheLogAndToNobodyElse(t *testing.T) {
	var s seen
	srv := newServer(t, serveFunc(func(context.Context, *exchange.Exchange) { panic("secret") }))
	srv.Observer = &s
	if got := talk(t, srv, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); strings.Contains(got, "secret") {
		t.Errorf("the client got %q", got)
	}
	if got := s.all(); len(got) != 1 || got[0].Code != "TOSKA-INTERNAL" {
		t.Errorf("recorded %+v", got)
	}
}

func TestAClientThatLeavesInItsHead(t *testing.T) {
	for raw, want := range map[string]int{"": 0, "GET / HT": 1, "GET / HTTP/1.1\r\nHost: h\r\n": 1} {
		var s seen
		srv := newServer(t, serveFunc(sayOK))
		srv.Observer = &s
		if got := talk(t, srv, raw); got != "" {
			t.Errorf("%q got %q", raw, got)
		}
		if got := s.all(); len(got) != want || want == 1 && (!got[0].ClientGone || got[0].Status != 0) {
			t.Errorf("%q recorded %+v", raw, got)
		}
	}
}
