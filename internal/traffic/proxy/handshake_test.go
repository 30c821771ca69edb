package proxy_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
)

func TestAHandshakeThatIsNoneIsRefused(t *testing.T) {
	const front = "GET /api/svc/ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
	const key, version = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "Sec-WebSocket-Version: 13\r\n"
	for _, row := range []struct {
		name, fields string
		status       int
	}{
		{"W-8 no key", version, 400},
		{"W-8 a key of 15 bytes", version + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\n", 400},
		{"W-8 a key that is not base64", version + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ!==\r\n", 400},
		{"W-8 the key twice", version + key + key, 400},
		{"W-8 the version twice", version + version + key, 400},
		{"W-8 no version", key, 426},
		{"W-8 version 8", "Sec-WebSocket-Version: 8\r\n" + key, 426},
	} {
		t.Run(row.name, func(t *testing.T) {
			both(t, func(t *testing.T, how mode) {
				up := newRecorder(t, upgradeAnswer)
				r := newRig(t, rigConfig{how: how}, up.addr)
				c := r.dial()
				_, _ = io.WriteString(c, front+row.fields+"\r\n"+marker) // a client that did not wait
				br := bufio.NewReader(c)
				resp, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				if resp.StatusCode != row.status || !strings.Contains(string(body), `"TOSKA-REQ-WEBSOCKET"`) || !resp.Close {
					t.Errorf("got %d, %q, to be closed: %v", resp.StatusCode, body, resp.Close)
				}
				want := ""
				if row.status == 426 {
					want = "13"
				}
				if got := resp.Header.Get("Sec-WebSocket-Version"); got != want {
					t.Errorf("Sec-WebSocket-Version is %q, want %q", got, want)
				}
				if rest, err := io.ReadAll(br); len(rest) > 0 || err != nil {
					t.Errorf("behind it came %q, %v", rest, err)
				}
				if saw := up.saw(); len(saw) > 0 {
					t.Errorf("the endpoint saw %q", saw)
				}
			})
		})
	}
}

func TestAnEndpointThatAnswersAHandshakeWronglyIsRefused(t *testing.T) {
	const front = "HTTP/1.1 101 Switching Protocols\r\n"
	const connection, upgrade, accept = "Connection: Upgrade\r\n", "Upgrade: websocket\r\n", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
	for _, row := range []struct{ name, answer string }{
		{"W-8 no Sec-WebSocket-Accept", connection + upgrade},
		{"W-8 one of another key", connection + upgrade + "Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=\r\n"},
		{"W-8 two of them", connection + upgrade + accept + accept},
		{"W-12 no Connection", upgrade + accept},
		{"W-12 no Upgrade", connection + accept},
		{"W-12 another protocol", connection + "Upgrade: h2c\r\n" + accept},
		{"W-12 two protocols", connection + upgrade + "Upgrade: h2c\r\n" + accept},
	} {
		t.Run(row.name, func(t *testing.T) {
			both(t, func(t *testing.T, how mode) {
				up := newRecorder(t, front+row.answer+"\r\n")
				r := newRig(t, rigConfig{how: how}, up.addr)
				status, body, err := r.once(upgradeRequest)
				if status != 502 || !strings.Contains(body, "TOSKA-UP-MALFORMED") {
					t.Errorf("got %d, %q, %v", status, body, err)
				}
			})
		})
	}
}

func TestARouteSaysWhatMayBeUpgraded(t *testing.T) {
	const file = `
services: {svc: {upgrades: [websocket]}}
routes:
  - {name: closed, match: {path: {prefix: /closed}}, to: {service: svc}, upgrades: []}
  - {name: open, match: {path: {prefix: /open}}, to: {service: svc}}
  - {name: other, match: {path: {prefix: /other}}, to: {service: other}}
`
	both(t, func(t *testing.T, how mode) {
		up := newUpstream(t, echoing)
		r := newRig(t, rigConfig{how: how, file: file, policy: route.Policy{Upgrades: route.UpgradesNone}}, up)
		for path, want := range map[string]int{"/closed/ws": 403, "/open/ws": 101, "/api/svc/ws": 101, "/other/ws": 403} {
			c := r.dial()
			_, _ = io.WriteString(c, strings.Replace(upgradeRequest, "/api/svc/ws", path, 1))
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || resp.StatusCode != want {
				t.Errorf("W-12 %s: %v, %v; want %d", path, resp, err, want)
				continue
			}
			if want == 403 {
				if body, _ := io.ReadAll(resp.Body); !strings.Contains(string(body), "TOSKA-ROUTE-UPGRADE") {
					t.Errorf("W-12 %s: %q", path, body)
				}
			}
			_ = c.Close()
		}
	})
	if p := route.DefaultPolicy(); p.Upgrades == route.UpgradesNone {
		t.Error("W-12 WebSockets are not taken by default")
	}
}
