package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
)

func TestALineHasThePhasesOfItsExchange(t *testing.T) {
	r := newRig(t, nil)
	r.d.set(snapshot(1, newBackend(t, "one").instance("a", "Web")), nil)
	r.waitReady()
	c, err := net.Dial("tcp", r.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	br := bufio.NewReader(c)
	for range 2 {
		_, _ = io.WriteString(c, "GET /api/web/x?token=hidden HTTP/1.1\r\nHost: shop.test\r\n\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	r.stop() // the lines are written
	waitFor(t, "both lines are written", func() bool { return len(r.log.lines(t)) == 2 })
	for n, line := range r.log.lines(t) {
		for _, key := range []string{"match_ms", "wait_ms", "body_ms", "upstream_ms", "duration_ms"} {
			if v, ok := line[key].(float64); !ok || v <= 0 {
				t.Errorf("line %d: %s is %v", n, key, line[key])
			}
		}
		for key, first := range map[string]bool{"accept_ms": true, "dial_ms": true, "reused": false} {
			if _, has := line[key]; has != (first == (n == 0)) {
				t.Errorf("line %d: %s is %v", n, key, line[key])
			}
		}
		if s := fmt.Sprint(line); strings.Contains(s, "hidden") || strings.Contains(s, "phase:") {
			t.Errorf("line %d is %v", n, line)
		}
	}
}

func TestALineTellsInWhichPhaseAnExchangeFailed(t *testing.T) {
	r := newRig(t, nil)
	b := newBackend(t, "one")
	in := b.instance("a", "Web")
	_ = b.Close()
	r.d.set(snapshot(1, in), nil)
	r.waitReady()
	r.get("/api/web/x")
	waitFor(t, "the line is written", func() bool { return len(r.log.lines(t)) == 1 })
	line := r.log.lines(t)[0]
	if line["status"] != 502.0 || line["code"] != "TOSKA-UP-CONN-REFUSED" || line["phase"] != "connect" || line["reason"] == "" {
		t.Errorf("line %v, want 502 in connect", line)
	}
}

func TestARouteMayHaveNoLines(t *testing.T) {
	r := newRig(t, nil)
	r.d.set(snapshot(1, newBackend(t, "one").instance("a", "Web")), nil)
	r.g.Configure(&route.Set{Routes: []route.Spec{
		{Name: "quiet", Prefix: "/quiet", Service: "Web", Unlogged: true}, {Name: "loud", Prefix: "/loud", Service: "Web"},
	}})
	r.waitReady()
	for _, path := range []string{"/quiet/x", "/loud/x", "/quiet/y"} {
		if status, _ := r.get(path); status != 200 {
			t.Fatalf("%s: %d", path, status)
		}
	}
	r.stop()
	waitFor(t, "a line is written", func() bool { return len(r.log.lines(t)) > 0 })
	if lines := r.log.lines(t); len(lines) != 1 || lines[0]["path"] != "/loud/x" || lines[0]["route"] != "loud" {
		t.Errorf("lines %v, want that of /loud/x", lines)
	}
}
