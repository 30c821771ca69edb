package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// dead returns an address that refuses connections.
func dead(t testing.TB) string {
	t.Helper()
	ln := listenLocal(t)
	defer ln.Close()
	return ln.Addr().String()
}

func TestEveryWayAnEndpointFailsHasAStatusAndACode(t *testing.T) {
	failDial := func(err error) func(context.Context, string) (net.Conn, error) {
		return func(context.Context, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
		}
	}
	for _, tc := range []struct {
		name   string
		cfg    rigConfig
		addr   func(t *testing.T) string
		status int
		code   string
		cut    bool
	}{
		{"U-1 refuses", rigConfig{}, func(t *testing.T) string { return dead(t) }, 502, "TOSKA-UP-CONN-REFUSED", false},
		{"U-1 drops the first packet", rigConfig{dial: failDial(os.ErrDeadlineExceeded)}, func(*testing.T) string { return "127.0.0.1:1" }, 504, "TOSKA-UP-CONN-TIMEOUT", false},
		{"U-1 cannot be reached", rigConfig{dial: failDial(os.NewSyscallError("connect", syscall.EHOSTUNREACH))}, func(*testing.T) string { return "127.0.0.1:1" }, 502, "TOSKA-UP-CONN-FAILED", false},
		{"U-1 has a name that does not resolve", rigConfig{dial: failDial(&net.DNSError{Err: "no such host", Name: "nowhere.test", IsNotFound: true})}, func(*testing.T) string { return "nowhere.test:1" }, 502, "TOSKA-UP-DNS", false},
		{"U-1 has a name whose lookup is too slow", rigConfig{dial: failDial(&net.DNSError{Err: "i/o timeout", Name: "slow.test", IsTimeout: true})}, func(*testing.T) string { return "slow.test:1" }, 502, "TOSKA-UP-DNS", false},
		{"U-1 closes without an answer", rigConfig{}, func(t *testing.T) string {
			return newUpstream(t, func(c net.Conn) { _ = readHead(bufio.NewReader(c)) })
		}, 502, "TOSKA-UP-RESET", false},
		{"U-1 resets without an answer", rigConfig{}, func(t *testing.T) string {
			return newUpstream(t, func(c net.Conn) {
				_ = readHead(bufio.NewReader(c))
				_ = c.(*net.TCPConn).SetLinger(0)
			})
		}, 502, "TOSKA-UP-RESET", false},
		{"U-1 closes in the head of its answer", rigConfig{}, func(t *testing.T) string {
			return newUpstream(t, func(c net.Conn) {
				_ = readHead(bufio.NewReader(c))
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-")
			})
		}, 502, "TOSKA-UP-RESET", false},
		{"U-1 hangs", rigConfig{perTry: 50 * time.Millisecond}, func(t *testing.T) string { return newUpstream(t, sink) }, 504, "TOSKA-UP-TIMEOUT", false},
		{"U-1 answers in another protocol", rigConfig{}, func(t *testing.T) string {
			return newUpstream(t, func(c net.Conn) {
				_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n")
				sink(c)
			})
		}, 502, "TOSKA-UP-MALFORMED", false},
		{"U-1 resets behind the head of its answer", rigConfig{}, func(t *testing.T) string {
			return newUpstream(t, func(c net.Conn) {
				_ = readHead(bufio.NewReader(c))
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
				_ = c.(*net.TCPConn).SetLinger(0)
			})
		}, 0, "TOSKA-UP-CUT", true},
	} {
		for _, how := range modes {
			t.Run(fmt.Sprintf("%s, %v", tc.name, how), func(t *testing.T) {
				cfg := tc.cfg
				cfg.how = how
				r := newRig(t, cfg, tc.addr(t))
				status, body, err := r.once(get("Connection: close\r\n"))
				rec := r.record()
				if rec.Code != tc.code || rec.Attempts != 1 || rec.Endpoint == "" || rec.Service != "Svc" {
					t.Errorf("recorded %+v, want %s after one attempt", rec.Record, tc.code)
				}
				if tc.cut {
					if err == nil {
						t.Errorf("got %d, %q, want an answer that is seen to be cut", status, body)
					}
					return
				}
				if status != tc.status || !strings.Contains(body, `"code":"`+tc.code+`"`) {
					t.Errorf("got %d, %q, %v; want %d with %s", status, body, err, tc.status, tc.code)
				}
			})
		}
	}
}

func TestAServiceWithoutAnEndpointIs503(t *testing.T) {
	r := newRig(t, rigConfig{draining: true}, "127.0.0.1:1")
	status, body, err := r.once(get("Connection: close\r\n"))
	if status != 503 || !strings.Contains(body, `"code":"TOSKA-UP-NONE"`) || !strings.Contains(body, "1 draining") || err != nil {
		t.Errorf("got %d, %q, %v", status, body, err)
	}
}

func TestAConnectThatSentNothingGoesToAnotherInstance(t *testing.T) {
	both(t, func(t *testing.T, how mode) {
		up := newRecorder(t, "")
		r := newRig(t, rigConfig{how: how}, dead(t), up.addr, dead(t))
		for range 20 {
			// A POST too: nothing was sent.
			if status, body, err := r.once(post("Content-Length: 3\r\nConnection: close\r\n", "abc")); status != 200 || err != nil {
				t.Fatalf("got %d, %q, %v", status, body, err)
			}
			if rec := r.record(); rec.Endpoint != up.addr || rec.Attempts < 1 || rec.Attempts > 3 || rec.BytesIn != 3 {
				t.Errorf("recorded %+v", rec.Record)
			}
		}
		for _, saw := range up.saw() {
			if !strings.HasSuffix(saw, "\r\n\r\nabc") {
				t.Errorf("the endpoint saw %q: the body was lost on the way to it", saw)
			}
		}
	})
}

func TestARequestThatWasSentIsNotSentTwice(t *testing.T) {
	one := newRecorderFunc(t, func(int, string) string { return "" })
	two := newRecorderFunc(t, func(int, string) string { return "" })
	r := newRig(t, rigConfig{}, one.addr, two.addr)
	for _, method := range []string{"POST", "PATCH", "GET"} {
		before := len(one.saw()) + len(two.saw())
		status, _, _ := r.once(method + " /api/svc/x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")
		if n := len(one.saw()) + len(two.saw()) - before; status != 502 || n != 1 {
			t.Errorf("%s: got %d, sent %d times", method, status, n)
		}
	}
}

// flaky answers the first request of each connection and closes on the second without a word, as a
// server does whose keep-alive ran out just then.
func flaky(seen *atomic.Int64) func(c net.Conn) {
	return func(c net.Conn) {
		br := bufio.NewReader(c)
		if _, _, ok := readRaw(br, func() {}); ok {
			seen.Add(1)
			_, _ = io.WriteString(c, okAnswer)
		}
		if _, err := br.ReadByte(); err == nil { // the next request has come
			_ = c.(*net.TCPConn).SetLinger(0)
		}
	}
}

func TestAKeptConnectionThatDiedUnderARequest(t *testing.T) {
	both(t, func(t *testing.T, how mode) {
		for _, tc := range []struct {
			method string
			want   int
		}{{"GET", 200}, {"HEAD", 200}, {"PUT", 200}, {"DELETE", 200}, {"OPTIONS", 200}, {"POST", 502}, {"PATCH", 502}} {
			t.Run(tc.method, func(t *testing.T) {
				var seen atomic.Int64
				r := newRig(t, rigConfig{how: how}, newUpstream(t, flaky(&seen)))
				if status, _, _ := r.once(get("Connection: close\r\n")); status != 200 {
					t.Fatalf("the first got %d", status)
				}
				r.record() // the link is back in its pool
				body := "Content-Length: 0\r\n\r\n"
				if tc.method == "PUT" || tc.method == "POST" {
					body = "Content-Length: 3\r\n\r\nabc"
				}
				c := r.dial()
				_, _ = io.WriteString(c, tc.method+" /api/svc/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"+body)
				resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: tc.method})
				if err != nil || resp.StatusCode != tc.want {
					t.Errorf("%s on a kept connection that died got %v, %v, want %d", tc.method, resp, err, tc.want)
				}
			})
		}
	})
}

func TestAnInstanceThatIsKilled(t *testing.T) {
	bothNamed(t, "N-17 at most one request fails", func(t *testing.T, how mode) {
		survivor := newRecorder(t, "")
		ln := listenLocal(t)
		victim := newUpstreamOn(t, ln, answering(okAnswer))
		r := newRig(t, rigConfig{how: how}, survivor.addr, ln.Addr().String())
		c := r.dial()
		br := bufio.NewReader(c)
		failed := 0
		for i := range 200 {
			if i == 50 {
				victim.kill()
			}
			_, _ = io.WriteString(c, get(""))
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			if resp.StatusCode != 200 {
				failed++
			}
		}
		if failed > 1 {
			t.Errorf("N-17: %d requests failed, want at most 1", failed)
		}
	})
}

func TestAnAnswerThatIsLargerThanAnyBufferStreams(t *testing.T) {
	both(t, func(t *testing.T, how mode) {
		const size = 8 << 20
		for _, framing := range []string{"length", "chunks", "close"} {
			t.Run("U-14 by "+framing, func(t *testing.T) {
				up := newUpstream(t, func(c net.Conn) {
					_ = readHead(bufio.NewReader(c))
					piece := strings.Repeat("0123456789abcdef", 4<<10)
					switch framing {
					case "length":
						_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
					case "chunks":
						_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
						piece = fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece)
					case "close":
						_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
					}
					for range size / (64 << 10) {
						if _, err := io.WriteString(c, piece); err != nil {
							return
						}
					}
					if framing == "chunks" {
						_, _ = io.WriteString(c, "0\r\n\r\n")
					}
				})
				r := newRig(t, rigConfig{how: how}, up)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				c := r.dial()
				_, _ = io.WriteString(c, get(""))
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatal(err)
				}
				n, sum := 0, uint32(0)
				for p := make([]byte, 32<<10); ; {
					k, err := resp.Body.Read(p)
					for i := range k {
						if p[i] != "0123456789abcdef"[(n+i)%16] {
							sum++
						}
					}
					n += k
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						t.Fatalf("after %d bytes: %v", n, err)
					}
				}
				runtime.ReadMemStats(&after)
				if n != size || sum != 0 {
					t.Errorf("got %d bytes, %d of them wrong; want %d", n, sum, size)
				}
				if grown := int64(after.Sys) - int64(before.Sys); grown > size*3/4 {
					t.Errorf("the process grew by %d bytes: the answer was held", grown)
				}
			})
		}
	})
}

func TestAnAnswerThatNeverEnds(t *testing.T) {
	bothNamed(t, "U-14 an answer that never ends is streamed", func(t *testing.T, how mode) {
		gone := make(chan struct{})
		up := newUpstream(t, func(c net.Conn) {
			defer close(gone)
			_ = readHead(bufio.NewReader(c))
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
			for err == nil {
				_, err = io.WriteString(c, "7\r\ndata:1\n\r\n")
			}
		})
		r := newRig(t, rigConfig{how: how}, up)
		c := r.dial()
		_, _ = io.WriteString(c, get(""))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("U-14: got %v, %v", resp, err)
		}
		if n, err := io.CopyN(io.Discard, resp.Body, 64<<10); err != nil {
			t.Fatalf("U-14: %v after %d bytes", err, n)
		}
		_ = c.Close()
		if rec := r.record(); !rec.ClientGone || rec.Code != "TOSKA-CLIENT-GONE" {
			t.Errorf("U-14: recorded %+v", rec.Record)
		}
		select {
		case <-gone:
		case <-time.After(5 * time.Second):
			t.Error("U-14: the endpoint went on for a client that had left")
		}
	})
}

func TestEventsAreBroughtAsTheyCome(t *testing.T) {
	both(t, func(t *testing.T, how mode) {
		next := make(chan string)
		up := newUpstream(t, func(c net.Conn) {
			_ = readHead(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
			for event := range next {
				_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n", len(event), event)
			}
			_, _ = io.WriteString(c, "0\r\n\r\n")
			sink(c)
		})
		r := newRig(t, rigConfig{how: how}, up)
		c := r.dial()
		_, _ = io.WriteString(c, get(""))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil) // the head comes before the first event
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			event := fmt.Sprintf("data: %d\n\n", i)
			next <- event
			p := make([]byte, len(event))
			if _, err := io.ReadFull(resp.Body, p); err != nil || string(p) != event {
				t.Fatalf("event %d came as %q, %v", i, p, err)
			}
		}
		close(next)
		if rest, err := io.ReadAll(resp.Body); len(rest) != 0 || err != nil {
			t.Errorf("at the end came %q, %v", rest, err)
		}
	})
}

func TestAClientThatLeavesBetweenAttempts(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a socket's peer cannot be looked at here without reading: the next attempt is made")
	}
	bothNamed(t, "U-15 no attempt is made for a client that left", func(t *testing.T, how mode) {
		left, tried := make(chan struct{}), make(chan struct{}, 1)
		var dials atomic.Int64
		r := newRig(t, rigConfig{how: how, dial: func(context.Context, string) (net.Conn, error) {
			dials.Add(1)
			tried <- struct{}{}
			<-left
			return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		}}, "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")
		c := r.dial()
		_, _ = io.WriteString(c, get(""))
		<-tried
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
		// The reset has to arrive before the gateway looks; on loopback it has when Close returns.
		close(left)
		rec := r.record()
		if !rec.ClientGone || rec.Code != "TOSKA-CLIENT-GONE" || rec.Attempts != 1 || dials.Load() != 1 {
			t.Errorf("U-15: recorded %+v after %d dials, want no attempt for a client that left", rec.Record, dials.Load())
		}
	})
}

func TestRequestsInFlightAreCountedDown(t *testing.T) {
	up := newRecorder(t, "")
	r := newRig(t, rigConfig{}, up.addr, dead(t))
	for range 10 {
		_, _, _ = r.once(get("Connection: close\r\n"))
		_, _, _ = r.once(post("Transfer-Encoding: chunked\r\n", "zz\r\n"))
		c := r.dial()
		_, _ = io.WriteString(c, post("Content-Length: 10\r\n", "abc"))
		_ = c.Close()
	}
	for range 30 {
		r.record()
	}
	m, _ := r.table.Load().Match(&exchange.Request{Method: []byte("GET"), Path: []byte("/api/svc/")})
	for _, e := range m.Upstream.All() {
		if n := e.InFlight(); n != 0 {
			t.Errorf("%s has %d requests in flight, want 0", e.Addr, n)
		}
	}
}

func TestNoTableYet(t *testing.T) {
	r := newRig(t, rigConfig{})
	r.table.Store(nil)
	status, body, _ := r.once(get("Connection: close\r\n"))
	if status != 503 || !strings.Contains(body, `"code":"TOSKA-ROUTE-NOT-READY"`) {
		t.Errorf("got %d, %q", status, body)
	}
}
