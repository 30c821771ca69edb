package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestWebSocketsPass(t *testing.T) {
	both(t, func(t *testing.T, how mode) {
		up := newUpstream(t, echoing)
		r := newRig(t, rigConfig{how: how}, up)
		c := r.dial()
		_, _ = io.WriteString(c, upgradeRequest+masked(opText, "early"))
		br := bufio.NewReader(c)
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != 101 {
			t.Fatalf("got %v, %v", resp, err)
		}
		for name, want := range map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-Websocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		expectFrame(t, br, opText, "hello")
		expectFrame(t, br, opText, "early")
		for i := range 100 {
			word := fmt.Sprintf("frame %d", i)
			_, _ = io.WriteString(c, masked(opText, word))
			expectFrame(t, br, opText, word)
		}
		for _, b := range []byte(masked(opText, "drop by drop")) {
			_, _ = c.Write([]byte{b})
		}
		expectFrame(t, br, opText, "drop by drop")
		big := strings.Repeat("x", 1<<20)
		go func() { _, _ = io.WriteString(c, masked(opMore, big)+masked(opPing, "?")+masked(opLast, "the end")) }()
		expectFrame(t, br, opMore, big)
		expectFrame(t, br, opPing, "?")
		expectFrame(t, br, opLast, "the end")
		_, _ = io.WriteString(c, masked(opClose, statusText(1000)))
		expectFrame(t, br, opClose, statusText(1000))
		if rest, err := io.ReadAll(br); len(rest) != 0 || err != nil {
			t.Errorf("at the end came %q, %v", rest, err)
		}
		if rec := r.record(); !rec.Upgraded || rec.Status != 101 || rec.Code != "" {
			t.Errorf("recorded %+v", rec.Record)
		}
	})
}

func TestAnEndOfATunnelThatBreaksEndsTheOther(t *testing.T) {
	both(t, func(t *testing.T, how mode) {
		t.Run("the client's", func(t *testing.T) {
			ended := make(chan struct{})
			r := newRig(t, rigConfig{how: how}, newUpstream(t, func(c net.Conn) {
				defer close(ended)
				_ = readHead(bufio.NewReader(c))
				_, _ = io.WriteString(c, upgradeAnswer)
				_, _ = io.Copy(io.Discard, c)
			}))
			c := r.dial()
			_, _ = io.WriteString(c, upgradeRequest)
			_ = readHead(bufio.NewReader(c))
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
			<-ended
			r.record()
		})
		t.Run("the endpoint's", func(t *testing.T) {
			r := newRig(t, rigConfig{how: how}, newUpstream(t, func(c net.Conn) {
				_ = readHead(bufio.NewReader(c))
				_, _ = io.WriteString(c, upgradeAnswer)
				_ = c.(*net.TCPConn).SetLinger(0)
			}))
			c := r.dial()
			_, _ = io.WriteString(c, upgradeRequest)
			_, _ = io.Copy(io.Discard, c) // ends, one way or the other
			r.record()
		})
	})
}

func TestOnlyWebSocketsAreUpgraded(t *testing.T) {
	for _, tc := range []struct{ name, raw string }{
		{"W-12 h2c", "GET /api/svc/x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"},
		{"W-12 another protocol", "GET /api/svc/x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: tls/1.0\r\n\r\n"},
		{"W-12 websocket and another one", "GET /api/svc/x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n"},
		{"W-12 websocket without Connection", "GET /api/svc/x HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n"},
		{"W-12 websocket with a body", "GET /api/svc/x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc"},
		{"W-12 websocket by POST", "POST /api/svc/x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"},
		{"W-12 websocket on HTTP/1.0", "GET /api/svc/x HTTP/1.0\r\nHost: h\r\nConnection: Upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up := newRecorder(t, "")
			r := newRig(t, rigConfig{}, up.addr)
			got := r.exchangeRaw(tc.raw+marker, false)
			if len(got) != 2 || got[0].status != 200 || got[1].status != 200 {
				t.Errorf("answers %v, want two of 200", got)
			}
			for _, saw := range up.saw() {
				for _, not := range []string{"Upgrade", "upgrade", "HTTP2", "h2c"} {
					if strings.Contains(saw, not) {
						t.Errorf("the endpoint saw %q in %q", not, saw)
					}
				}
			}
		})
	}
	for _, tc := range []struct{ name, answer string }{
		{"W-12 an endpoint that changes to another protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"},
		{"W-12 an endpoint that does not say what it changes to", "HTTP/1.1 101 Switching Protocols\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up := newRecorder(t, tc.answer)
			r := newRig(t, rigConfig{}, up.addr)
			status, body, err := r.once(upgradeRequest)
			if status != 502 || !strings.Contains(body, "TOSKA-UP-MALFORMED") {
				t.Errorf("got %d, %q, %v", status, body, err)
			}
		})
	}
	t.Run("W-12 an endpoint that does not want to", func(t *testing.T) {
		up := newRecorder(t, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
		r := newRig(t, rigConfig{}, up.addr)
		if status, body, err := r.once(upgradeRequest); status != 403 || body != "no" || err != nil {
			t.Errorf("got %d, %q, %v", status, body, err)
		}
	})
}
