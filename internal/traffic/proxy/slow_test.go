package proxy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
)

// sink reads whatever comes and answers nothing.
func sink(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// answering reads each request and answers it.
func answering(answer string) func(c net.Conn) {
	return func(c net.Conn) {
		br := bufio.NewReader(c)
		for {
			if _, _, ok := readRaw(br, func() {}); !ok {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestSlowClientsAreBounded(t *testing.T) {
	timeouts := http1.DefaultTimeouts()
	t.Run("W-9 a head that trickles in", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newPipeRig(t, answering(okAnswer))
			defer r.close()
			c, start := r.connect(), time.Now()
			r.work.Go(func() {
				for _, b := range []byte(get(strings.Repeat("X-A: b\r\n", 50))) {
					if _, err := c.Write([]byte{b}); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			})
			got, _ := io.ReadAll(c)
			if statusOf(string(got)) != 408 || !between(time.Since(start), timeouts.Head) {
				t.Errorf("got %.80q after %v, want 408 after %v", got, time.Since(start), timeouts.Head)
			}
			if rec := r.record(); rec.Code != exchange.CodeRequestTimeout || rec.Attempts != 0 {
				t.Errorf("recorded %+v", rec.Record)
			}
		})
	})
	t.Run("W-9 a connection that never asks for anything", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newPipeRig(t, answering(okAnswer))
			defer r.close()
			c, start := r.connect(), time.Now()
			got, err := io.ReadAll(c)
			if len(got) != 0 || err != nil || !between(time.Since(start), timeouts.Idle) {
				t.Errorf("got %q, %v after %v, want nothing after %v", got, err, time.Since(start), timeouts.Idle)
			}
		})
	})
	t.Run("W-9 a kept connection that asks for nothing more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newPipeRig(t, answering(okAnswer))
			defer r.close()
			c := r.connect()
			_, _ = io.WriteString(c, get(""))
			br := bufio.NewReader(c)
			_ = readHead(br)
			_, _ = io.CopyN(io.Discard, br, 2)
			start := time.Now()
			if rest, err := io.ReadAll(br); len(rest) != 0 || err != nil || !between(time.Since(start), timeouts.Idle) {
				t.Errorf("got %q, %v after %v, want nothing after %v", rest, err, time.Since(start), timeouts.Idle)
			}
		})
	})
	t.Run("W-9 a body that stops", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newPipeRig(t, sink)
			defer r.close()
			c, start := r.connect(), time.Now()
			_, _ = io.WriteString(c, post("Content-Length: 10\r\n", "abc"))
			got, _ := io.ReadAll(c)
			if statusOf(string(got)) != 408 || !between(time.Since(start), timeouts.Stall) {
				t.Errorf("got %.80q after %v, want 408 after %v", got, time.Since(start), timeouts.Stall)
			}
			if rec := r.record(); rec.Code != exchange.CodeRequestTimeout {
				t.Errorf("recorded %+v: the endpoint is not to blame", rec.Record)
			}
		})
	})
	t.Run("W-9 a client that does not read its answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			big := strings.Repeat("x", 1<<20)
			r := newPipeRig(t, answering(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(big), big)))
			defer r.close()
			c, start := r.connect(), time.Now()
			_, _ = io.WriteString(c, get(""))
			rec := <-r.records
			if !rec.ClientGone || rec.Code != "TOSKA-CLIENT-GONE" || !between(time.Since(start), timeouts.Stall) {
				t.Errorf("recorded %+v after %v, want a client that was given up after %v", rec.Record, time.Since(start), timeouts.Stall)
			}
		})
	})
	t.Run("W-9 a client that reads slowly gets everything", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			big := strings.Repeat("x", 256<<10)
			r := newPipeRig(t, answering(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(big), big)))
			defer r.close()
			c := r.connect()
			_, _ = io.WriteString(c, get("Connection: close\r\n"))
			total := 0
			for p := make([]byte, 4<<10); ; time.Sleep(time.Second) {
				n, err := c.Read(p)
				if total += n; err != nil {
					break
				}
			}
			if total < len(big) {
				t.Errorf("read %d bytes, want %d and a head", total, len(big))
			}
		})
	})
}

func TestAnUploadThatGoesOnIsNotCut(t *testing.T) {
	for _, row := range []struct {
		name    string
		policy  route.Policy
		framing string
		piece   string
		every   time.Duration
	}{
		{"H1-26 a length, above the least rate", route.Policy{}, "Content-Length: 36000\r\n", strings.Repeat("x", 600), 2 * time.Second},
		{"H1-26 chunks, above the least rate", route.Policy{}, "Transfer-Encoding: chunked\r\n", strings.Repeat("x", 600), 2 * time.Second},
		{"H1-26 a byte at a time where no rate is asked for", route.Policy{Rate: -1}, "Content-Length: 60\r\n", "x", 29 * time.Second},
		{"H1-26 chunks of a byte where no rate is asked for", route.Policy{Rate: -1}, "Transfer-Encoding: chunked\r\n", "x", 29 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) { uploadGoesOn(t, row.policy, row.framing, row.piece, row.every) })
	}
}

func uploadGoesOn(t *testing.T, policy route.Policy, framing, piece string, every time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRigOf(t, policy, answering(okAnswer))
		defer r.close()
		c := r.connect()
		r.work.Go(func() {
			_, _ = io.WriteString(c, post(framing, ""))
			for range 60 {
				time.Sleep(every)
				if strings.HasPrefix(framing, "T") {
					_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n", len(piece), piece)
				} else {
					_, _ = io.WriteString(c, piece)
				}
			}
			if strings.HasPrefix(framing, "T") {
				_, _ = io.WriteString(c, "0\r\n\r\n")
			}
		})
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("an upload of %v got %v, %v", 60*every, resp, err)
		}
		if rec := <-r.records; rec.BytesIn != int64(60*len(piece)) || rec.BytesOut != 2 {
			t.Errorf("recorded %d bytes in, %d out", rec.BytesIn, rec.BytesOut)
		}
	})
}

func TestAnEndpointThatIsSlow(t *testing.T) {
	t.Run("U-1 one that never answers is 504 after the time for a try", func(t *testing.T) {
		for _, req := range []string{get(""), post("Content-Length: 3\r\n", "abc"), chunkedPost("3\r\nabc\r\n0\r\n\r\n")} {
			synctest.Test(t, func(t *testing.T) {
				r := newPipeRig(t, sink)
				defer r.close()
				c, start := r.connect(), time.Now()
				r.work.Go(func() { _, _ = io.WriteString(c, req) })
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil || resp.StatusCode != 504 || time.Since(start) < 10*time.Second || time.Since(start) > 16*time.Second {
					t.Errorf("got %v, %v after %v, want 504 after 10 s", resp, err, time.Since(start))
				}
				if rec := <-r.records; rec.Code != "TOSKA-UP-TIMEOUT" || rec.Attempts != 1 {
					t.Errorf("recorded %+v", rec.Record)
				}
			})
		}
	})
	t.Run("U-1 a byte a second is brought to the client as it comes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newPipeRig(t, func(c net.Conn) {
				_ = readHead(bufio.NewReader(c))
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
				for range 100 {
					time.Sleep(time.Second)
					_, _ = io.WriteString(c, "x")
				}
			})
			defer r.close()
			c := r.connect()
			_, _ = io.WriteString(c, get("Connection: close\r\n"))
			br := bufio.NewReader(c)
			_ = readHead(br)
			for i := range 100 {
				start := time.Now()
				if _, err := br.ReadByte(); err != nil || time.Since(start) > time.Second {
					t.Fatalf("byte %d came after %v, %v", i, time.Since(start), err)
				}
			}
		})
	})
	t.Run("U-1 an interim answer now and then does not keep a try alive", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newPipeRig(t, func(c net.Conn) {
				_ = readHead(bufio.NewReader(c))
				for range 10 {
					time.Sleep(4 * time.Second)
					if _, err := io.WriteString(c, "HTTP/1.1 102 Processing\r\n\r\n"); err != nil {
						return
					}
				}
			})
			defer r.close()
			c, start := r.connect(), time.Now()
			_, _ = io.WriteString(c, get("Connection: close\r\n"))
			got, _ := io.ReadAll(c)
			if !strings.Contains(string(got), "HTTP/1.1 504 ") || !between(time.Since(start), 10*time.Second) {
				t.Errorf("got %q after %v", got, time.Since(start))
			}
		})
	})
	t.Run("U-1 a body that stops is cut, and the client can tell", func(t *testing.T) {
		for _, framing := range []string{"Content-Length: 100\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"} {
			synctest.Test(t, func(t *testing.T) {
				r := newPipeRig(t, func(c net.Conn) {
					_ = readHead(bufio.NewReader(c))
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+framing)
					sink(c)
				})
				defer r.close()
				c, start := r.connect(), time.Now()
				_, _ = io.WriteString(c, get(""))
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil || resp.StatusCode != 200 {
					t.Fatalf("got %v, %v", resp, err)
				}
				if b, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) || string(b) != "abc" || !between(time.Since(start), 30*time.Second) {
					t.Errorf("read %q, %v after %v, want a cut", b, err, time.Since(start))
				}
				if rec := <-r.records; rec.Code != "TOSKA-UP-CUT" {
					t.Errorf("recorded %+v", rec.Record)
				}
			})
		}
	})
}

func TestAThousandIdleConnectionsCostLittleAndDisturbNobody(t *testing.T) {
	bothNamed(t, "W-9 a thousand idle connections", func(t *testing.T, how mode) {
		up := newRecorder(t, "")
		r := newRig(t, rigConfig{how: how}, up.addr)
		const n = 1000
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		conns := make([]net.Conn, n)
		for i := range conns {
			conns[i] = r.dial()
			if i%2 == 0 { // half of them have been served
				_, _ = io.WriteString(conns[i], get(""))
				if resp, err := http.ReadResponse(bufio.NewReader(conns[i]), nil); err != nil || resp.StatusCode != 200 {
					t.Fatalf("connection %d: %v, %v", i, resp, err)
				}
			} else if i%4 == 1 { // and a quarter hangs in its head
				_, _ = io.WriteString(conns[i], "GET /api/svc/")
			}
		}
		if status, _, err := r.once(get("Connection: close\r\n")); status != 200 || err != nil {
			t.Errorf("W-9: beside %d idle connections a request got %d, %v", n, status, err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		// Both ends are in this process. A quarter holds a buffer of 16 KiB with half a head.
		if each := (int64(after.HeapAlloc+after.StackInuse) - int64(before.HeapAlloc+before.StackInuse)) / n; each > 16<<10 {
			t.Errorf("W-9: a connection costs %d bytes, want at most 16 KiB", each)
		}
		if open := r.server.Connections(); open < n {
			t.Errorf("%d connections are open, want %d", open, n)
		}
	})
}
