package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
)

// byPath serves paths that begin with /endless so, and others with answers of two bytes.
func byPath(c net.Conn) {
	br := bufio.NewReader(c)
	for {
		head, _, ok := readRaw(br, func() {})
		switch {
		case !ok:
			return
		case strings.Contains(head, " /endless "):
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			for piece := strings.Repeat("x", 64<<10); err == nil; {
				_, err = io.WriteString(c, piece)
			}
			return
		}
		if _, err := io.WriteString(c, okAnswer); err != nil {
			return
		}
	}
}

// usage is what the process holds: heap and stacks of both ends.
func usage() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// Slow clients of every kind, all at once: they cost a bounded amount each, others are served meanwhile,
// and all of them are gone once their time is up.
func TestACrowdOfSlowClientsDisturbsNobody(t *testing.T) {
	kinds := []struct{ name, raw string }{
		{"a head that does not end", "GET /api/svc/x HTTP/1.1\r\nHost: h\r\nX-A: "},
		{"a body of a length that does not come", post("Content-Length: 100000\r\n", "abc")},
		{"chunks that do not come", chunkedPost("3\r\nabc\r\n")},
		{"an answer that is not read", "GET /api/svc/endless HTTP/1.1\r\nHost: h\r\n\r\n"},
		{"nothing", ""},
	}
	bothNamed(t, "W-9 a crowd of slow clients", func(t *testing.T, how mode) {
		const each = 60
		timeouts := http1.DefaultTimeouts()
		timeouts.Idle, timeouts.Head = time.Second, time.Second
		r := newRig(t, rigConfig{how: how, timeouts: timeouts, policy: route.Policy{Idle: time.Second, PerTry: 10 * time.Second}}, newUpstream(t, byPath))
		before := usage()
		var conns []net.Conn
		for range each {
			for _, kind := range kinds {
				c := r.dial()
				_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
				if _, err := io.WriteString(c, kind.raw); err != nil {
					t.Fatal(err)
				}
				conns = append(conns, c)
			}
		}
		for range 50 {
			start := time.Now()
			if status, _, err := r.once(get("Connection: close\r\n")); status != 200 || err != nil || time.Since(start) > time.Second {
				t.Errorf("W-9: beside the crowd a request got %d, %v after %v", status, err, time.Since(start))
			}
		}
		if cost := (usage() - before) / int64(len(conns)); cost > 128<<10 {
			t.Errorf("W-9: a slow client costs %d bytes, want at most 128 KiB", cost)
		}
		waitFor(t, "every slow client is gone", func() bool { return r.server.Connections() == 0 })
		for _, c := range conns {
			_ = c.Close()
		}
	})
}

// Bodies of any length are carried in a constant amount of memory, however slowly they come or go.
func TestStreamsLeaveMemoryFlat(t *testing.T) {
	const streams, size = 20, 8 << 20
	up := func(c net.Conn) { // reads a body and says how long it was, or sends one
		br := bufio.NewReader(c)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		n, _ := io.Copy(io.Discard, req.Body)
		if req.Method == "POST" {
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\n%8d", n)
			return
		}
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", size)
		for range size / (64 << 10) {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}
	both(t, func(t *testing.T, how mode) {
		r := newRig(t, rigConfig{how: how}, newUpstream(t, up))
		before := usage()
		peak := int64(0)
		var half, done sync.WaitGroup
		goOn := make(chan struct{})
		for i := range streams {
			c := r.dial()
			half.Add(1)
			done.Go(func() {
				if i%2 == 0 {
					upload(t, c, size, half.Done, goOn)
				} else {
					download(t, c, size, half.Done, goOn)
				}
			})
		}
		half.Wait() // all of them stand still in the middle
		peak = max(peak, usage()-before)
		close(goOn)
		done.Wait()
		if cost := peak / streams; cost > 256<<10 {
			t.Errorf("a stream of %d bytes that stands still costs %d", size, cost)
		}
	})
}

// upload sends a body whose second half waits.
func upload(t *testing.T, c net.Conn, size int, half func(), goOn <-chan struct{}) {
	t.Helper()
	piece := make([]byte, 32<<10)
	_, err := fmt.Fprintf(c, "POST /api/svc/x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", size)
	for n := 0; n < size && err == nil; n += len(piece) {
		if n == size/2 {
			half()
			<-goOn
		}
		_, err = c.Write(piece)
	}
	if err != nil {
		t.Errorf("upload: %v", err)
		return
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("upload: %v, %v", resp, err)
		return
	}
	if b, err := io.ReadAll(resp.Body); strings.TrimSpace(string(b)) != fmt.Sprint(size) || err != nil {
		t.Errorf("upload: the endpoint read %q, %v", b, err)
	}
}

// download reads an answer whose second half waits.
func download(t *testing.T, c net.Conn, size int, half func(), goOn <-chan struct{}) {
	t.Helper()
	_, err := io.WriteString(c, get(""))
	if err != nil {
		t.Errorf("download: %v", err)
		return
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Errorf("download: %v", err)
		return
	}
	n, err := io.CopyN(io.Discard, resp.Body, int64(size/2))
	half()
	<-goOn
	rest, err2 := io.Copy(io.Discard, resp.Body)
	if n+rest != int64(size) || err != nil || err2 != nil {
		t.Errorf("download: read %d and %d, %v, %v", n, rest, err, err2)
	}
}

// A body that was sent in part is sent to nobody else: neither again nor without its bytes.
func TestABodyThatBreaksOffAtItsEndpointIsSentOnce(t *testing.T) {
	for _, method := range []string{"POST", "PUT"} {
		for _, framing := range []string{"Content-Length: 1000000\r\n", "Transfer-Encoding: chunked\r\n"} {
			bothNamed(t, "U-7 "+method+", "+framing[:strings.IndexByte(framing, ':')], func(t *testing.T, how mode) {
				var mu sync.Mutex
				var heads []string
				breaking := func(c net.Conn) {
					br := bufio.NewReader(c)
					head := readHead(br)
					mu.Lock()
					heads = append(heads, head)
					mu.Unlock()
					_, _ = io.CopyN(io.Discard, br, 100)
					_ = c.(*net.TCPConn).SetLinger(0)
				}
				cfg := retrying()
				cfg.how, cfg.policy.Budget, cfg.policy.RetryAll = how, 1, true
				r := newRig(t, cfg, newUpstream(t, breaking), newUpstream(t, breaking))
				c := r.dial()
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					_, err := io.WriteString(c, method+" /api/svc/x HTTP/1.1\r\nHost: h\r\n"+framing+"\r\n")
					for i := 0; i < 1000 && err == nil; i++ {
						if piece := strings.Repeat("x", 1000); framing[0] == 'T' {
							_, err = fmt.Fprintf(c, "3e8\r\n%s\r\n", piece)
						} else {
							_, err = io.WriteString(c, piece)
						}
					}
				}()
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil || resp.StatusCode != 502 {
					t.Errorf("U-7: got %v, %v, want 502", resp, err)
				}
				if rec := r.record(); rec.Code != "TOSKA-UP-RESET" || rec.Attempts != 1 {
					t.Errorf("U-7: recorded %+v", rec.Record)
				}
				_ = c.Close()
				<-sent
				mu.Lock()
				defer mu.Unlock()
				if len(heads) != 1 {
					t.Errorf("U-7: the endpoints saw %q, want one request", heads)
				}
			})
		}
	}
}
