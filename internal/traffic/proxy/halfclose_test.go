package proxy_test

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// A client that says that nothing more comes from it, and waits, is answered: whatever the gateway goes
// through for that.
func TestAClientThatHalfClosesIsAnswered(t *testing.T) {
	chunked := "PUT /api/svc/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
	for _, row := range []struct {
		name, raw string
		first     string // answer of whoever is asked first; empty closes
		refuse    bool   // the first connection is refused
		sent      int
	}{
		{"at once", get(""), okAnswer, false, 1},
		{"behind a body", post("Content-Length: 3\r\n", "abc"), okAnswer, false, 1},
		{"behind chunks", chunked, okAnswer, false, 1},
		{"after another endpoint was unwell", get(""), away, false, 2},
		{"after another endpoint closed", get(""), "", false, 2},
		{"after another endpoint refused", get(""), okAnswer, true, 1},
		{"after another endpoint refused a body", post("Content-Length: 3\r\n", "abc"), okAnswer, true, 1},
		{"after another endpoint was unwell, with a body", "PUT /api/svc/x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", away, false, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			both(t, func(t *testing.T, how mode) {
				var asked, dialled atomic.Int64
				answer := func(int, string) string {
					if asked.Add(1) == 1 {
						return row.first
					}
					return okAnswer
				}
				one, two := newRecorderFunc(t, answer), newRecorderFunc(t, answer)
				cfg := retrying()
				cfg.how = how
				closed := make(chan struct{})
				cfg.dial = func(ctx context.Context, addr string) (net.Conn, error) {
					<-closed // whatever is tried is tried for a client that has half-closed
					if dialled.Add(1) == 1 && row.refuse {
						return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
					}
					var d net.Dialer
					return d.DialContext(ctx, "tcp", addr)
				}
				r := newRig(t, cfg, one.addr, two.addr)
				c := r.dial()
				_, _ = io.WriteString(c, row.raw)
				if err := c.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				close(closed)
				got, err := io.ReadAll(c)
				if err != nil || statusOf(string(got)) != 200 || strings.Count(string(got), "HTTP/1.1 ") != 1 {
					t.Errorf("got %q, %v, want one 200", got, err)
				}
				if rec := r.record(); rec.ClientGone || rec.Code != "" {
					t.Errorf("recorded %+v", rec.Record)
				}
				saw := append(one.saw(), two.saw()...)
				if len(saw) != row.sent {
					t.Errorf("the endpoints saw %q, want %d requests", saw, row.sent)
				}
				for _, s := range saw {
					if strings.Contains(row.raw, "abc") && !strings.Contains(s, "abc") {
						t.Errorf("an endpoint saw %q without its body", s)
					}
				}
			})
		})
	}
}
