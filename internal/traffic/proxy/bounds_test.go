package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
)

// bounded is a file whose routes take bodies of several sizes.
const bounded = `limits: {body: 100B}
services:
  svc: {limits: {body: 50B}}
  other: {endpoints: [%q, %q]}
routes:
  - {name: small, match: {path: {prefix: /small}}, to: {service: svc}, limits: {body: 10B}}
  - {name: any, match: {path: {prefix: /any}}, to: {service: svc}, limits: {body: none}}
  - {name: wide, match: {path: {prefix: /wide}}, to: {service: other}}
`

func TestABodyThatIsTooLargeIsRefused(t *testing.T) {
	send := func(method, path, fields, body string) string {
		return method + " " + path + " HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n" + body
	}
	sized := func(path string, n int) string {
		return send("PUT", path, fmt.Sprintf("Content-Length: %d\r\n", n), strings.Repeat("x", n))
	}
	chunks := func(path string, n int) string {
		return send("PUT", path, "Transfer-Encoding: chunked\r\n", strings.Repeat("5\r\nxxxxx\r\n", n/5)+"0\r\n\r\n")
	}
	for _, row := range []struct {
		name, raw string
		status    int
		part      bool // of it may reach an endpoint
	}{
		{"a length over the route's limit", sized("/small", 11), 413, false},
		{"a length of the route's limit", sized("/small", 10), 200, true},
		{"a length over the service's limit, under the prefix", sized("/api/svc/x", 51), 413, false},
		{"a length of the service's limit, under the prefix", sized("/api/svc/x", 50), 200, true},
		{"a length over the limit of all", sized("/wide", 101), 413, false},
		{"a length without a limit", sized("/any", 100_000), 200, true},
		{"a length beyond all numbers", send("PUT", "/small", "Content-Length: 999999999999999999\r\n", ""), 413, false},
		{"a length over the limit of a client that waits", send("PUT", "/small", "Expect: 100-continue\r\nContent-Length: 11\r\n", ""), 413, false},
		{"chunks that pass the limit", chunks("/small", 15), 413, true},
		{"chunks of the limit", chunks("/small", 10), 200, true},
		{"one chunk over the limit, of which nothing comes", send("PUT", "/small", "Transfer-Encoding: chunked\r\n", "b\r\n"), 413, true},
		{"a chunk as large as can be said", send("PUT", "/small", "Transfer-Encoding: chunked\r\n", "3fffffffffffffff\r\nx"), 413, true},
		{"chunks without a limit", chunks("/any", 100_000), 200, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			both(t, func(t *testing.T, how mode) {
				one, two := newRecorder(t, ""), newRecorder(t, "")
				cfg := retrying()
				cfg.how, cfg.file = how, fmt.Sprintf(bounded, one.addr, two.addr)
				r := newRig(t, cfg, one.addr, two.addr)
				got := r.exchangeRaw(row.raw+marker, false)
				if len(got) == 0 || got[0].status != row.status {
					t.Fatalf("answers %v, want the first to be %d", got, row.status)
				}
				saw := append(one.saw(), two.saw()...)
				rec := r.record()
				if row.status == 200 {
					if len(got) != 2 || len(saw) != 2 {
						t.Errorf("answers %v: the request behind was lost", got)
					}
					return
				}
				if len(got) != 1 || !got[0].close || !strings.Contains(got[0].body, `"code":"`+exchange.CodeBodyTooLarge+`"`) {
					t.Errorf("answers %v, want one that tells its code and closes", got)
				}
				if all := strings.Join(saw, ""); len(saw) > 1 || strings.Contains(all, "marker") || strings.HasSuffix(all, "0\r\n\r\n") || !row.part && all != "" {
					t.Errorf("the endpoints saw %q", saw)
				}
				if rec.Code != exchange.CodeBodyTooLarge || rec.Status != 413 || rec.Attempts > 1 || !row.part && rec.Attempts != 0 {
					t.Errorf("recorded %+v", rec.Record)
				}
				one.waitClosed(t)
				two.waitClosed(t)
			})
		})
	}
}

// An answer that began before the body passed its limit is broken: it cannot become a 413.
func TestABodyThatBecomesTooLargeBehindItsAnswer(t *testing.T) {
	both(t, func(t *testing.T, how mode) {
		gone := make(chan struct{})
		up := newUpstream(t, func(c net.Conn) {
			defer close(gone)
			br := bufio.NewReader(c)
			_ = readHead(br)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
			_, _ = io.Copy(io.Discard, br)
		})
		r := newRig(t, rigConfig{how: how, policy: route.Policy{Body: 10}}, up)
		c := r.dial()
		_, _ = io.WriteString(c, chunkedPost("3\r\nabc\r\n"))
		br := bufio.NewReader(c)
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("got %v, %v", resp, err)
		}
		_, _ = io.WriteString(c, "9\r\n123456789\r\n0\r\n\r\n"+marker)
		if b, err := io.ReadAll(resp.Body); err == nil || !strings.HasPrefix("half", string(b)) {
			t.Errorf("read %q, %v, want an answer that is seen to be cut", b, err)
		}
		<-gone
		if rec := r.record(); rec.Code != exchange.CodeBodyTooLarge || rec.Status != 200 {
			t.Errorf("recorded %+v", rec.Record)
		}
	})
}

func TestAClientThatIsTooSlowIsCutShort(t *testing.T) {
	slow := route.Policy{Idle: 200 * time.Millisecond, Rate: 1 << 20}
	for _, row := range []struct {
		name   string
		policy route.Policy
		head   string
	}{
		{"W-9 a length, at less than the rate", slow, "Content-Length: 1000\r\n"},
		{"W-9 chunks, at less than the rate", slow, "Transfer-Encoding: chunked\r\n"},
		{"H1-26 a length, beyond the ceiling", route.Policy{Rate: -1, Ceiling: 200 * time.Millisecond}, "Content-Length: 1000\r\n"},
		{"H1-26 chunks, beyond the ceiling", route.Policy{Rate: -1, Ceiling: 200 * time.Millisecond}, "Transfer-Encoding: chunked\r\n"},
	} {
		bothNamed(t, row.name, func(t *testing.T, how mode) {
			one, two := newRecorder(t, ""), newRecorder(t, "")
			cfg := retrying()
			cfg.how, cfg.policy = how, row.policy
			cfg.policy.Attempts, cfg.policy.Budget = 2, 1
			r := newRig(t, cfg, one.addr, two.addr)
			c := r.dial()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, err := io.WriteString(c, "PUT /api/svc/x HTTP/1.1\r\nHost: h\r\n"+row.head+"\r\n")
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				for err == nil {
					<-tick.C
					_, err = io.WriteString(c, "1\r\na\r\n")
				}
			}()
			start := time.Now()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if took := time.Since(start); err != nil || resp.StatusCode != 408 || took < 200*time.Millisecond || took > 2*time.Second {
				t.Errorf("got %v, %v after %v, want 408 after 200 ms", resp, err, took)
			}
			if rec := r.record(); rec.Code != exchange.CodeRequestTimeout || rec.Attempts != 1 {
				t.Errorf("recorded %+v", rec.Record)
			}
			_ = c.Close()
			<-ended
			one.waitClosed(t)
			two.waitClosed(t)
			if saw := append(one.saw(), two.saw()...); len(saw) != 1 || strings.HasSuffix(saw[0], "0\r\n\r\n") {
				t.Errorf("the endpoints saw %q, want one request that is cut", saw)
			}
		})
	}
	bothNamed(t, "W-9 a reader, at less than the rate", func(t *testing.T, how mode) {
		up := newUpstream(t, func(c net.Conn) {
			_ = readHead(bufio.NewReader(c))
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			for piece := strings.Repeat("x", 64<<10); err == nil; {
				_, err = io.WriteString(c, piece)
			}
		})
		r := newRig(t, rigConfig{how: how, policy: route.Policy{Idle: 300 * time.Millisecond, Rate: 1 << 30}}, up)
		c := r.dial()
		_, _ = io.WriteString(c, get(""))
		read := make(chan struct{})
		go func() {
			defer close(read)
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for p := make([]byte, 64<<10); ; <-tick.C {
				if _, err := c.Read(p); err != nil {
					return
				}
			}
		}()
		start := time.Now()
		if rec := r.record(); !rec.ClientGone || time.Since(start) > 8*time.Second {
			t.Errorf("recorded %+v after %v", rec.Record, time.Since(start))
		}
		_ = c.Close()
		<-read
	})
}
