package app_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// teller is an instance that says its name, and streams: each line that is asked for, until its client or
// the test ends it.
type teller struct {
	instance mesh.Instance
	lines    chan string // to be streamed; closed, the stream ends
}

func newTeller(t *testing.T, c *discoveryapi.Client, name string) *teller {
	t.Helper()
	tell := &teller{lines: make(chan string)}
	mux := http.NewServeMux()
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintln(w, name)
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case line, ok := <-tell.lines:
				if !ok {
					return
				}
				_, _ = fmt.Fprintln(w, line)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("/ws", func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"+shortFrame(name+"\n", false))
		echoFrames(conn, rw) // it ends with the client
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })
	ln := listenLocal(t)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(ln) }() // ends with Close
	t.Cleanup(func() { _ = srv.Close() })
	in, err := c.Register(t.Context(), mesh.Registration{
		Service: "web", ID: name, Address: "127.0.0.1", Port: portOf(t, ln), Lifetime: mesh.Permanent,
	})
	if err != nil {
		t.Fatal(err)
	}
	tell.instance = in
	return tell
}

func refOf(in mesh.Instance) mesh.Ref { return mesh.Ref{ID: in.ID, Incarnation: in.Incarnation} }

// stream opens a stream until it is one of the named instance.
func (r *running) stream(t *testing.T, path, name string) (send io.Writer, lines *bufio.Reader) {
	t.Helper()
	for range 200 {
		var d net.Dialer
		c, err := d.DialContext(t.Context(), "tcp", r.Addresses["gateway"])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		upgrade := ""
		if path == "/ws" {
			upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
		}
		if _, err := io.WriteString(c, "GET /api/web"+path+" HTTP/1.1\r\nHost: t\r\n"+upgrade+"\r\n"); err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(c)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		var send io.Writer = c
		lines := bufio.NewReader(resp.Body)
		if path == "/ws" {
			f := &frames{Writer: c, Reader: br, client: true}
			send, lines = f, bufio.NewReader(f)
		}
		who, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("%d: %v", resp.StatusCode, err)
		}
		if strings.TrimSpace(who) == name {
			return send, lines
		}
		_ = c.Close()
	}
	t.Fatalf("none of 200 streams went to %s", name)
	return nil, nil
}

func TestAnInstanceThatLeavesKeepsItsStreamsAndGetsNothingNew(t *testing.T) {
	r := start(t, t.TempDir(), nil)
	c := discoveryapi.NewClient(r.Addresses["control"], r.ServiceToken)
	defer c.Close()
	for _, row := range []struct {
		name  string
		leave func(context.Context, mesh.Ref) error
	}{
		{"U-13 one instance is drained", c.Drain},
		{"U-13 one instance is deregistered", c.Deregister},
	} {
		t.Run(row.name, func(t *testing.T) {
			leaves, stays := newTeller(t, c, "leaves"), newTeller(t, c, "stays")
			r.until("both are picked", func() bool {
				seen := map[string]bool{}
				for range 20 {
					_, body := r.gateway("/api/web/")
					seen[body] = true
				}
				return len(seen) == 2
			})
			_, streamed := r.stream(t, "/stream", "leaves")
			send, tunnelled := r.stream(t, "/ws", "leaves")

			if err := row.leave(t.Context(), refOf(leaves.instance)); err != nil {
				t.Fatal(err)
			}
			r.until("the other alone is picked", func() bool { _, body := r.gateway("/api/web/"); return r.only(body, 10) == "stays" })
			if got := r.only("stays", 100); got != "stays" {
				t.Errorf("a new request was answered by %q", got)
			}
			// What is open goes on, through more changes, until its own end.
			for i := range 5 {
				r.register(mesh.Registration{Service: fmt.Sprintf("other-%d", i), Address: "127.0.0.1", Port: 9, Lifetime: mesh.Permanent})
				line := fmt.Sprintf("line %d", i)
				leaves.lines <- line
				if got, err := streamed.ReadString('\n'); err != nil || strings.TrimSpace(got) != line {
					t.Fatalf("the stream said %q, %v; want %q", got, err, line)
				}
				if _, err := io.WriteString(send, line+"\n"); err != nil {
					t.Fatal(err)
				}
				if got, err := tunnelled.ReadString('\n'); err != nil || strings.TrimSpace(got) != line {
					t.Fatalf("the tunnel said %q, %v; want %q", got, err, line)
				}
			}
			close(leaves.lines)
			if rest, err := io.ReadAll(streamed); err != nil || len(rest) != 0 {
				t.Errorf("the stream ended with %q, %v; want its whole end", rest, err)
			}
			for _, in := range []mesh.Instance{leaves.instance, stays.instance} {
				_ = c.Deregister(t.Context(), refOf(in)) // one of them may have left
			}
		})
	}
}

// only makes n requests and returns the first answer that is not want, or want.
func (r *running) only(want string, n int) string {
	for range n {
		if _, body := r.gateway("/api/web/"); body != want {
			return body
		}
	}
	return want
}

func TestAServiceWhoseInstancesAllFailIs503WithTheReason(t *testing.T) {
	r := start(t, t.TempDir(), nil)
	c := discoveryapi.NewClient(r.Addresses["control"], r.ServiceToken)
	defer c.Close()
	first, second := newTeller(t, c, "first"), newTeller(t, c, "second")
	r.until("the service is routed", func() bool { status, _ := r.gateway("/api/web/"); return status == http.StatusOK })
	report := func(health mesh.Health) {
		t.Helper()
		for _, in := range []mesh.Instance{first.instance, second.instance} {
			if err := c.Report(t.Context(), refOf(in), mesh.Report{Health: health}); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("U-3 all failing is 503, and says so", func(t *testing.T) {
		report(mesh.Failing)
		r.until("it is 503 with the reason", func() bool {
			status, body := r.gateway("/api/web/")
			return status == http.StatusServiceUnavailable && strings.Contains(body, "TOSKA-UP-NONE") && strings.Contains(body, "of its instances 2 failing")
		})
	})
	t.Run("U-3 all degraded are a last resort", func(t *testing.T) {
		report(mesh.Degraded)
		r.until("it is served", func() bool { status, _ := r.gateway("/api/web/"); return status == http.StatusOK })
	})
}
