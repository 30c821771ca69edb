package http1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
)

// pulled is what a handler got of a body.
type pulled struct {
	n    int
	err  error
	took time.Duration
}

// pullWithin serves one connection with a handler that pulls the body within the bounds, and tells of it.
// The bubble's work ends with the returned function.
func pullWithin(t *testing.T, b exchange.Bounds) (far net.Conn, got <-chan pulled, done func()) {
	t.Helper()
	near, far := net.Pipe()
	ch := make(chan pulled, 1)
	srv := newServer(t, serveFunc(func(_ context.Context, x *exchange.Exchange) {
		x.Bounds = b
		p := pulled{}
		for p.err == nil {
			var piece []byte
			piece, p.err = x.Body.Next()
			p.n += len(piece)
		}
		p.took = time.Since(x.Request.Received)
		ch <- p
		if errors.Is(p.err, io.EOF) {
			_ = x.Answer.Start(&exchange.Head{Status: 204})
			_ = x.Answer.End(nil)
		}
	}))
	served := make(chan struct{})
	go func() {
		defer close(served)
		http1.NewConn(srv, near).Serve(context.Background(), never)
	}()
	return far, ch, func() {
		_ = far.Close()
		<-served
	}
}

// trickle sends a piece at each interval, until it is refused or the pieces are through.
func trickle(c io.Writer, piece string, times int, every time.Duration) {
	for range times {
		if _, err := io.WriteString(c, piece); err != nil {
			return
		}
		time.Sleep(every)
	}
}

func TestBoundsOfABody(t *testing.T) {
	const sizedHead, chunkedHead = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	bounds := exchange.Bounds{Body: 1000, Idle: 30 * time.Second, Ceiling: 10 * time.Minute, Rate: 240}
	unbound := exchange.Bounds{Idle: 30 * time.Second}
	hour := 3600
	for _, tc := range []struct {
		name string
		b    exchange.Bounds
		send func(c io.Writer)
		err  error // nil for io.EOF
		n    int
		from time.Duration
	}{
		{"a length over the limit", bounds, func(c io.Writer) { _, _ = fmt.Fprintf(c, sizedHead+"a", 1001) }, exchange.ErrBodyTooLarge, 0, 0},
		{"a length of the limit", bounds, func(c io.Writer) { _, _ = fmt.Fprintf(c, sizedHead+"%s", 1000, strings.Repeat("a", 1000)) }, nil, 1000, 0},
		{"chunks that pass the limit", bounds, func(c io.Writer) {
			_, _ = io.WriteString(c, chunkedHead)
			trickle(c, "64\r\n"+strings.Repeat("a", 100)+"\r\n", 11, 0)
		}, exchange.ErrBodyTooLarge, 1000, 0},
		{"a chunk that says that it will pass the limit", bounds, func(c io.Writer) { _, _ = io.WriteString(c, chunkedHead+"3\r\nabc\r\n3e6\r\n") }, exchange.ErrBodyTooLarge, 3, 0},
		{"chunks of the limit", bounds, func(c io.Writer) {
			_, _ = io.WriteString(c, chunkedHead)
			trickle(c, "64\r\n"+strings.Repeat("a", 100)+"\r\n", 10, 0)
			_, _ = io.WriteString(c, "0\r\n\r\n")
		}, nil, 1000, 0},
		{"no limit", unbound, func(c io.Writer) { _, _ = fmt.Fprintf(c, sizedHead+"%s", 100_000, strings.Repeat("a", 100_000)) }, nil, 100_000, 0},
		{"a byte a second is too slow once it has been waited for long enough", bounds, func(c io.Writer) {
			_, _ = fmt.Fprintf(c, sizedHead, 1000)
			trickle(c, "a", 1000, time.Second)
		}, exchange.ErrBodySlow, 30, 30 * time.Second},
		{"a fast start is no licence to be slow for ever", bounds, func(c io.Writer) {
			_, _ = fmt.Fprintf(c, sizedHead+"%s", 1000, strings.Repeat("a", 900))
			trickle(c, "a", 100, 4*time.Second)
		}, exchange.ErrBodySlow, 900, 30 * time.Second},
		{"H1-26 steady progress above the rate is not cut, however long it takes", exchange.Bounds{Idle: 30 * time.Second, Rate: 240, Ceiling: 2 * time.Hour},
			func(c io.Writer) {
				_, _ = fmt.Fprintf(c, sizedHead, 300*hour)
				trickle(c, strings.Repeat("a", 300), hour, time.Second)
			}, nil, 300 * hour, time.Duration(hour-1) * time.Second},
		{"H1-26 silences below the idle time are not cut where no rate is asked for", unbound, func(c io.Writer) {
			_, _ = fmt.Fprintf(c, sizedHead, 200)
			trickle(c, "a", 200, 29*time.Second)
		}, nil, 200, 5700 * time.Second},
		{"H1-26 the ceiling is one whatever progress is made", exchange.Bounds{Idle: 30 * time.Second, Ceiling: 10 * time.Minute}, func(c io.Writer) {
			_, _ = io.WriteString(c, chunkedHead)
			trickle(c, "5\r\nabcde\r\n", 10_000, time.Second)
		}, exchange.ErrBodyLong, 5 * 600, 10 * time.Minute},
		{"a ceiling without an idle time", exchange.Bounds{Ceiling: time.Minute}, func(c io.Writer) { _, _ = fmt.Fprintf(c, sizedHead, 10) }, exchange.ErrBodyLong, 0, time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				far, got, done := pullWithin(t, tc.b)
				var ends sync.WaitGroup
				defer ends.Wait()
				defer done()
				ends.Go(func() { tc.send(far) })
				ends.Go(func() { _, _ = io.Copy(io.Discard, far) })
				p := <-got
				want := tc.err
				if want == nil {
					want = io.EOF
				}
				if !errors.Is(p.err, want) {
					t.Errorf("the body ended in %v, want %v", p.err, want)
				}
				if slack := p.n - tc.n; slack < 0 || slack > tc.n/3+10 || tc.err == nil && slack != 0 {
					t.Errorf("%d bytes came through, want about %d", p.n, tc.n)
				}
				if p.took < tc.from || p.took > tc.from+tc.from/4+time.Minute {
					t.Errorf("it took %v, want about %v", p.took, tc.from)
				}
			})
		})
	}
}

func TestTimeThatAnEndpointTakesIsNotHeldAgainstTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		served := make(chan error, 1)
		srv := newServer(t, serveFunc(func(_ context.Context, x *exchange.Exchange) {
			x.Bounds = exchange.Bounds{Idle: 10 * time.Second, Rate: 1 << 20}
			err := x.Answer.Start(&exchange.Head{Status: 200, Length: exchange.Unknown})
			for i := 0; i < 100 && err == nil; i++ { // an upload that is taken in slowly, and events now and then
				if _, err = x.Body.Next(); err == nil {
					err = errors.Join(x.Answer.Write([]byte("data: x\n\n"), false), x.Answer.Flush())
				}
				time.Sleep(time.Minute)
			}
			served <- err
		}))
		var ends sync.WaitGroup
		ends.Go(func() { http1.NewConn(srv, near).Serve(context.Background(), never) })
		ends.Go(func() {
			_, _ = io.WriteString(far, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
			trickle(far, "1\r\na\r\n", 101, 0)
		})
		ends.Go(func() { _, _ = io.Copy(io.Discard, far) })
		if err := <-served; err != nil {
			t.Errorf("an exchange in which only the handler was slow ended in %v", err)
		}
		_ = far.Close()
		ends.Wait()
	})
}

func TestW9AClientThatReads(t *testing.T) {
	const size = 1 << 20
	bounds := exchange.Bounds{Idle: 30 * time.Second, Rate: 240}
	for _, tc := range []struct {
		name  string
		b     exchange.Bounds
		piece int
		whole bool
		until time.Duration
	}{
		{"W-9 faster than the rate gets everything", bounds, 1 << 10, true, 0},
		{"W-9 just faster than the rate gets everything", bounds, 260, true, 0},
		{"W-9 slower than the rate is given up", bounds, 100, false, 90 * time.Second},
		{"W-9 a byte a second where no rate is asked for gets on", exchange.Bounds{Idle: 30 * time.Second}, 1, false, 4000 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				served := make(chan error, 1)
				done := make(chan struct{})
				srv := newServer(t, serveFunc(func(_ context.Context, x *exchange.Exchange) {
					x.Bounds = tc.b
					err := x.Answer.Start(&exchange.Head{Status: 200, Length: size})
					piece := make([]byte, 64<<10)
					for i := 0; i < size/len(piece) && err == nil; i++ {
						err = x.Answer.Write(piece, false)
					}
					if err == nil {
						err = x.Answer.End(nil)
					}
					served <- err
				}))
				go func() { defer close(done); http1.NewConn(srv, near).Serve(context.Background(), never) }()
				start := time.Now()
				_, _ = io.WriteString(far, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
				resp, err := http.ReadResponse(bufio.NewReaderSize(far, 16), nil)
				if err != nil {
					t.Fatal(err)
				}
				n := 0
				for p := make([]byte, tc.piece); err == nil && (tc.whole || time.Since(start) < tc.until); time.Sleep(time.Second) {
					var k int
					k, err = io.ReadFull(resp.Body, p)
					n += k
				}
				switch {
				case tc.whole && n != size:
					t.Errorf("read %d bytes, %v, want %d", n, err, size)
				case tc.b.Rate == 0 && err != nil:
					t.Errorf("read %d bytes and then %v, though no rate is asked for", n, err)
				case !tc.whole && tc.b.Rate > 0 && err == nil:
					t.Errorf("still reading after %v", time.Since(start))
				}
				_ = far.Close()
				if err := <-served; (err == nil) != tc.whole || err != nil && !errors.Is(err, exchange.ErrClientGone) {
					t.Errorf("the handler was told %v", err)
				}
				<-done
			})
		})
	}
}
