package gateway_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// newChat is a service whose instance takes WebSockets, and hears until its client ends.
func newChat(t *testing.T) *mesh.Instance {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		_, _ = io.Copy(io.Discard, rw)
	})}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	return (&backend{addr: ln.Addr().String()}).instance("chat-1", "Chat")
}

// chat opens a WebSocket.
func (r *rig) chat() (net.Conn, *bufio.Reader) {
	r.t.Helper()
	c, err := net.Dial("tcp", r.ln.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, "GET /api/chat/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		r.t.Fatalf("the handshake was answered %v, %v", resp, err)
	}
	return c, br
}

// expectGoingAway reads a close frame with 1001.
func expectGoingAway(t *testing.T, br *bufio.Reader) {
	t.Helper()
	var b [4]byte
	if _, err := io.ReadFull(br, b[:]); err != nil || b[0] != 0x88 || b[1] != 2 || binary.BigEndian.Uint16(b[2:]) != 1001 {
		t.Errorf("read %x, %v; want a close frame with 1001", b, err)
	}
}

func TestWebSocketsEndByTheRuleOfTheirRoute(t *testing.T) {
	chat := newChat(t)
	draining := *chat
	draining.Draining = true
	for _, row := range []struct {
		name string
		snap *mesh.Snapshot
	}{
		{"U-13 the instance drains", snapshot(2, &draining)},
		{"U-13 the instance is deregistered", snapshot(2)},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t, nil)
			r.g.Configure(&route.Set{Services: []route.ServiceSpec{{Name: "chat", Policy: route.Policy{Drain: 200 * time.Millisecond}}}})
			r.d.set(snapshot(1, chat), nil)
			r.waitReady()
			_, br := r.chat()
			start := time.Now()
			r.d.set(row.snap, nil)
			r.waitRevision(2)
			expectGoingAway(t, br)
			if d := time.Since(start); d < 200*time.Millisecond {
				t.Errorf("it was closed after %v, want the 200 ms of its route", d)
			}
		})
	}
}

func TestAWebSocketWithoutARuleStaysUntilTheGatewayStops(t *testing.T) {
	chat := newChat(t)
	r := newRig(t, nil)
	r.d.set(snapshot(1, chat), nil)
	r.waitReady()
	c, br := r.chat()
	r.d.set(snapshot(2), nil)
	r.waitRevision(2)
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if b, err := br.Peek(1); err == nil {
		t.Errorf("U-13: the WebSocket was told %x", b)
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	r.stop()
	expectGoingAway(t, br)
}
