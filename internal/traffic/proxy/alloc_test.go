package proxy_test

import (
	"bytes"
	"net"
	"runtime"
	"testing"
)

// constant answers each head with the same bytes and allocates nothing while it does.
func constant(answer []byte, bodyBytes int) func(c net.Conn) {
	return func(c net.Conn) {
		buf, n := make([]byte, 16<<10), 0
		for {
			k, err := c.Read(buf[n:])
			if err != nil {
				return
			}
			n += k
			if i := bytes.Index(buf[:n], []byte("\r\n\r\n")); i < 0 || n < i+4+bodyBytes {
				continue
			}
			n = 0
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	}
}

// allocsPerRequest sends the same request over and over on one connection, and returns how often the
// whole process allocated for each.
func allocsPerRequest(t *testing.T, c net.Conn, request []byte, answerEnd []byte) float64 {
	t.Helper()
	buf := make([]byte, 64<<10)
	once := func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		for n := 0; !bytes.HasSuffix(buf[:n], answerEnd); {
			k, err := c.Read(buf[n:])
			if err != nil {
				t.Fatalf("%v after %q", err, buf[:n])
			}
			n += k
		}
	}
	for range 200 {
		once()
	}
	const requests = 2000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range requests {
		once()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / requests
}

func TestForwardingAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's pools forget on purpose: run without -race")
	}
	for _, tc := range []struct {
		name, request, answer, end string
		body                       int
		most                       float64
	}{
		{"a GET", get("User-Agent: test\r\nAccept: */*\r\nCookie: a=b\r\n"), okAnswer, "\r\n\r\nok", 0, 0.1},
		{"a GET of a path with work", "GET /api/SVC//a/./%62 HTTP/1.1\r\nHost: h\r\n\r\n", okAnswer, "\r\n\r\nok", 0, 0.1},
		{"a GET that is answered in chunks", get(""), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "2\r\nok\r\n0\r\n\r\n", 0, 0.1},
		{"a HEAD", "HEAD /api/svc/x HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "\r\n\r\n", 0, 0.1},
		{"a POST with its body", post("Content-Length: 3\r\n", "abc"), okAnswer, "\r\n\r\nok", 3, 0.1},
		{"a request with an id and a trace", get("X-Request-Id: abc\r\nTraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"), okAnswer, "\r\n\r\nok", 0, 0.1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			both(t, func(t *testing.T, how mode) {
				r := newRig(t, rigConfig{how: how}, newUpstream(t, constant([]byte(tc.answer), tc.body)))
				drained := make(chan struct{})
				go func() { // the records of the rig are a channel
					defer close(drained)
					for range r.records {
					}
				}()
				c := r.dial()
				if n := allocsPerRequest(t, c, []byte(tc.request), []byte(tc.end)); n > tc.most {
					t.Errorf("%.2f allocations per request, want at most %.2f", n, tc.most)
				}
				_ = c.Close()
				r.stop()
				<-r.stopped
				close(r.records)
				<-drained
			})
		})
	}
}

func BenchmarkForward(b *testing.B) {
	r := newRig(b, rigConfig{}, newUpstream(b, constant([]byte(okAnswer), 0)))
	go func() {
		for range r.records {
		}
	}()
	c := r.dial()
	request, buf := []byte(get("User-Agent: test\r\nAccept: */*\r\n")), make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
	_ = c.Close()
	r.stop()
	<-r.stopped
	close(r.records)
}
