package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestAFailureNamesThePhaseThatItWasIn(t *testing.T) {
	never := func(t *testing.T) string { return newUpstream(t, sink) }
	for _, tc := range []struct {
		name  string
		cfg   rigConfig
		addr  func(t *testing.T) string
		raw   string
		code  string
		phase exchange.Phase
	}{
		{"a head that cannot be read", rigConfig{}, never, "GET /api/Svc/ HTTP/1.1\r\nHost : h\r\n\r\n", "TOSKA-REQ-MALFORMED", exchange.PhaseParse},
		{"a path that no route takes", rigConfig{}, never, "GET /api/none/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "TOSKA-ROUTE-NONE", exchange.PhaseMatch},
		{"a service without an endpoint", rigConfig{change: func(in *mesh.Instance) { in.Draining = true }}, never, "", "TOSKA-UP-NONE", exchange.PhasePick},
		{"an endpoint that refuses", rigConfig{}, func(t *testing.T) string { return dead(t) }, "", "TOSKA-UP-CONN-REFUSED", exchange.PhaseConnect},
		{"an endpoint that is mute", rigConfig{perTry: 20 * time.Millisecond}, never, "", "TOSKA-UP-TIMEOUT", exchange.PhaseWait},
		{"an answer that is cut", rigConfig{}, func(t *testing.T) string {
			return newUpstream(t, func(c net.Conn) {
				_ = readHead(bufio.NewReader(c))
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
			})
		}, "", "TOSKA-UP-CUT", exchange.PhaseBody},
	} {
		for _, how := range modes {
			t.Run(fmt.Sprintf("%s, %v", tc.name, how), func(t *testing.T) {
				cfg := tc.cfg
				cfg.how = how
				r := newRig(t, cfg, tc.addr(t))
				if tc.raw == "" {
					_, _, _ = r.once(get("Connection: close\r\n"))
				} else {
					r.send(tc.raw)
				}
				if rec := r.record(); rec.Code != tc.code || rec.Phase != tc.phase {
					t.Errorf("%s in %q, want %s in %q", rec.Code, rec.Phase, tc.code, tc.phase)
				}
			})
		}
	}
}

func TestThePhasesOfAnExchangeAreWhatTookItsTime(t *testing.T) {
	const slow = 30 * time.Millisecond
	for _, how := range modes {
		t.Run(how.String(), func(t *testing.T) {
			addr := newUpstream(t, func(c net.Conn) {
				br := bufio.NewReader(c)
				for readHead(br) != "" {
					<-time.After(slow)
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
					<-time.After(slow)
					_, _ = io.WriteString(c, "k")
				}
			})
			r := newRig(t, rigConfig{how: how}, addr)
			c := r.dial()
			for n := range 2 {
				<-time.After(slow)
				_, _ = io.WriteString(c, "GET /api/Svc/ HTTP/1.1\r\nHos")
				<-time.After(slow)
				_, _ = io.WriteString(c, "t: h\r\n\r\n")
				_, _ = io.Copy(io.Discard, answers(t, c, "GET", 1)[0].Body)
				rec := r.record()
				p := rec.Phases
				if p.Parse < slow || p.Wait < slow || p.Body < slow || p.Match <= 0 || p.Match > slow || p.Policy != 0 || p.Queue != 0 || p.TLS != 0 {
					t.Errorf("exchange %d: phases %+v", n, p)
				}
				if first := n == 0; (p.Accept >= slow) != first || (p.Dial > 0) != first || p.Reused == first {
					t.Errorf("exchange %d: accept %v, dial %v, reused %v", n, p.Accept, p.Dial, p.Reused)
				}
			}
		})
	}
}

func TestTheTimesOfSeveralAttemptsAreAddedUp(t *testing.T) {
	r := newRig(t, rigConfig{perTry: 40 * time.Millisecond, policy: route.Policy{Attempts: 2, Budget: 1}}, newUpstream(t, sink), newUpstream(t, sink))
	status, _, _ := r.once(get("Connection: close\r\n"))
	rec := r.record()
	if status != 504 || rec.Attempts != 2 || rec.Phases.Wait < 80*time.Millisecond || rec.Phases.Body != 0 {
		t.Errorf("%d after %d attempts, phases %+v; want 504 after 2, and the waits of both", status, rec.Attempts, rec.Phases)
	}
	if total := rec.Done.Sub(rec.FirstByte); !rec.FirstByte.IsZero() {
		t.Errorf("an answer began %v before the end", total)
	}
}

func TestTheCodeOfAFailureIsInItsBodyToo(t *testing.T) {
	r := newRig(t, rigConfig{}, dead(t))
	_, body, _ := r.once(get("Connection: close\r\n"))
	if rec := r.record(); !strings.Contains(body, `"code":"`+rec.Code+`"`) || rec.Code == "" {
		t.Errorf("%s in the record, %s in the body", rec.Code, body)
	}
}
