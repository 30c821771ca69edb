package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	endpoints "github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// change puts another table in force, as the gateway does.
func (r *rig) change(f func(in *route.Input)) {
	in := r.input
	snap := *in.Snapshot
	snap.Services = maps.Clone(snap.Services)
	set := *in.Set
	set.Routes, set.Services = slices.Clone(set.Routes), slices.Clone(set.Services)
	in.Snapshot, in.Set = &snap, &set
	f(&in)
	snap.Revision.Number++
	prev := r.table.Load()
	next := route.Build(prev, in, r.proxy.Open)
	r.input = in
	r.table.Store(next)
	next.Abandoned(prev, endpoints.Connections.Close)
	r.proxy.Review(next)
}

// upstream is that of svc.
func (r *rig) upstream() (out *endpoints.Upstream) {
	r.table.Load().Each(func(u *endpoints.Upstream, _ *endpoints.Endpoint) { out = u })
	return out
}

// instance changes the one instance of svc; nil takes it away.
func instance(f func(*mesh.Instance)) func(*route.Input) {
	return func(in *route.Input) {
		if f == nil {
			delete(in.Snapshot.Services, "svc")
			return
		}
		was := *in.Snapshot.Services["svc"][0]
		f(&was)
		in.Snapshot.Services["svc"] = []*mesh.Instance{&was}
	}
}

func TestFramesThatCannotBeCloseBothEnds(t *testing.T) {
	const ok = "fine"
	for _, row := range []struct {
		name     string
		client   string // bytes that the client sends
		endpoint string // or that the endpoint sends
		reason   string
	}{
		{"W-8 an unmasked frame of the client", masked(opText, ok) + unmasked(opText, "bare"), "", "not masked"},
		{"W-8 a long ping of the client", masked(opText, ok) + masked(opPing, strings.Repeat("p", 126)), "", "125 bytes"},
		{"W-8 a fragmented ping of the client", masked(opText, ok) + masked(opPing&0x7f, "p"), "", "125 bytes"},
		{"W-8 a reserved opcode of the client", masked(opText, ok) + masked(0x83, ""), "", "opcode"},
		{"W-8 a reserved bit of the client", masked(opText, ok) + masked(0xc1, "x"), "", "reserved bit"},
		{"W-8 a fragment of nothing of the client", masked(opText, ok) + masked(opLast, "x"), "", "fragments"},
		{"W-8 no frames at all", masked(opText, ok) + "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "", "opcode"},
		{"W-8 a masked frame of the endpoint", "", unmasked(opText, ok) + masked(opText, "masked"), "masked"},
		{"W-8 a long ping of the endpoint", "", unmasked(opText, ok) + unmasked(opPing, strings.Repeat("p", 300)), "125 bytes"},
		{"W-8 a fragmented close of the endpoint", "", unmasked(opText, ok) + unmasked(opClose&0x7f, ""), "125 bytes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			both(t, func(t *testing.T, how mode) {
				far := make(chan heard, 1)
				r := newRig(t, rigConfig{how: how}, newUpstream(t, scripted(func(c net.Conn, br *bufio.Reader) {
					_, _ = io.WriteString(c, row.endpoint)
					far <- hear(c, br, unmaskedAnswer)
				})))
				c, br := r.open("/api/svc/ws")
				start := time.Now()
				_, _ = io.WriteString(c, row.client)
				_ = c.(*net.TCPConn).SetReadDeadline(time.Now().Add(5 * time.Second))
				near := hear(c, br, maskedAnswer)
				_, _ = io.Copy(io.Discard, br)
				_ = c.Close()
				want := map[bool]string{true: "close 1002", false: `"fine" close 1002`}
				if got := near.String(); got != want[row.endpoint == ""] {
					t.Errorf("the client heard %s, %v", got, near.err)
				}
				if got := <-far; got.String() != want[row.endpoint != ""] {
					t.Errorf("the endpoint heard %s, %v", got, got.err)
				} else if last := got.frames[len(got.frames)-1]; !last.masked {
					t.Error("the close frame to the endpoint is not masked")
				}
				rec := r.record()
				code := "TOSKA-REQ-WEBSOCKET"
				if row.endpoint != "" {
					code = "TOSKA-UP-MALFORMED"
				}
				if rec.Code != code || !strings.Contains(rec.Reason, row.reason) || rec.Status != 101 {
					t.Errorf("recorded %d, %s, %q; want %s, %q", rec.Status, rec.Code, rec.Reason, code, row.reason)
				}
				if d := time.Since(start); d > 2*time.Second {
					t.Errorf("it took %v, want it to end with the answers", d)
				}
			})
		})
	}
}

func unmaskedAnswer(first byte, payload string) string { return unmasked(first, payload) }
func maskedAnswer(first byte, payload string) string   { return masked(first, payload) }

func TestPayloadIsTheEndsBusiness(t *testing.T) {
	both(t, func(t *testing.T, how mode) {
		r := newRig(t, rigConfig{how: how}, newUpstream(t, echoing))
		c, br := r.open("/api/svc/ws")
		expectFrame(t, br, opText, "hello")
		// W-8: text that is no UTF-8 and a status that is none: whoever reads them judges them.
		for _, f := range []struct {
			first   byte
			payload string
		}{{opText, "\xff\xfe\x00"}, {opClose, statusText(999)}} {
			_, _ = io.WriteString(c, masked(f.first, f.payload))
			expectFrame(t, br, f.first, f.payload)
		}
	})
}

func TestAGatewayThatStopsClosesItsWebSockets(t *testing.T) {
	bothNamed(t, "U-12 a stop with WebSockets", func(t *testing.T, how mode) {
		far := make(chan heard, 2)
		half, arrived := make(chan struct{}), make(chan struct{}, 2)
		r := newRig(t, rigConfig{how: how}, newUpstream(t, scripted(func(c net.Conn, br *bufio.Reader) {
			_, _ = io.WriteString(c, unmasked(opText, "hello"))
			if p, err := br.Peek(1); err == nil && p[0] == opText {
				_, _ = br.Peek(100)
				arrived <- struct{}{}
			}
			far <- hear(c, br, unmaskedAnswer)
		})))
		silent, silentReader := r.open("/api/svc/ws")
		expectFrame(t, silentReader, opText, "hello")
		busy, busyReader := r.open("/api/svc/ws")
		expectFrame(t, busyReader, opText, "hello")
		frame := masked(opText, strings.Repeat("x", 1000))
		_, _ = io.WriteString(busy, frame[:500]) // the gateway stops in the middle of it
		<-arrived
		start := time.Now()
		r.stop()
		go func() {
			defer close(half)
			expectStatus(t, busyReader, 1001) // this direction is at a border
			_, _ = io.WriteString(busy, frame[500:]+masked(opClose, statusText(1001)))
			_, _ = io.Copy(io.Discard, busyReader)
		}()
		if got := hear(silent, silentReader, maskedAnswer).String(); got != "close 1001" {
			t.Errorf("the silent client heard %s", got)
		}
		<-half
		<-r.stopped
		heards := []string{(<-far).String(), (<-far).String()}
		slices.Sort(heards)
		if want := []string{fmt.Sprintf("%q close 1001", strings.Repeat("x", 20)), "close 1001"}; !slices.Equal(heards, want) {
			t.Errorf("the endpoint heard %q, want %q", heards, want)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("it took %v, want it to end with the answers", d)
		}
		for range 2 {
			if rec := r.record(); rec.Code != "" || rec.Status != 101 {
				t.Errorf("recorded %+v", rec.Record)
			}
		}
	})
}

func expectStatus(t *testing.T, r io.Reader, status int) {
	t.Helper()
	f, err := readFrame(r)
	if err != nil || f.status() != status {
		t.Errorf("read frame %#x %.40q, %v; want a close with %d", f.first, f.payload, err, status)
	}
}

// An end that does not answer is not waited for.
func TestAnEndThatDoesNotAnswerACloseIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, scripted(func(c net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) }))
		defer r.close()
		c := r.connect()
		br := r.handshake(c, "/api/svc/ws")
		start := time.Now()
		r.change(instance(func(in *mesh.Instance) { in.Draining = true }))
		synctest.Wait()
		r.change(func(in *route.Input) { in.Set.Defaults.Drain = time.Minute })
		expectStatus(t, br, 1001)
		if d := time.Since(start); d.Truncate(time.Millisecond) != time.Minute {
			t.Errorf("it was closed after %v, want the minute that the route says now", d)
		}
		if rest, err := io.ReadAll(br); len(rest) > 0 || err != nil {
			t.Errorf("then came %q, %v", rest, err)
		}
		if d := time.Since(start) - time.Minute; d.Truncate(time.Millisecond) != 3*time.Second {
			t.Errorf("the ends had %v to answer, want 3 s", d)
		}
		if rec := r.record(); rec.Code != "" {
			t.Errorf("recorded %+v", rec.Record)
		}
	})
}

func TestWhatHasGoneDrainsAndWhatStaysStays(t *testing.T) {
	const file = `
routes:
  - {name: chat, match: {path: {prefix: /chat}}, to: {service: svc}, drain: 30s}
  - {name: other, match: {path: {prefix: /other}}, to: {service: svc}}
`
	routeNamed := func(name string, f func(*route.Spec)) func(*route.Input) {
		return func(in *route.Input) {
			i := slices.IndexFunc(in.Set.Routes, func(s route.Spec) bool { return s.Name == name })
			if f == nil {
				in.Set.Routes = slices.Delete(in.Set.Routes, i, i+1)
				return
			}
			f(&in.Set.Routes[i])
		}
	}
	for _, row := range []struct {
		name   string
		change func(*route.Input)
		ends   bool
	}{
		{"U-13 the instance drains", instance(func(in *mesh.Instance) { in.Draining = true }), true},
		{"U-13 the instance is deregistered", instance(nil), true},
		{"U-13 the instance is failing", instance(func(in *mesh.Instance) { in.Health = mesh.Failing }), true},
		{"U-13 the instance moves", instance(func(in *mesh.Instance) { in.Port++ }), true},
		{"U-13 the instance gets another weight", instance(func(in *mesh.Instance) { in.Metadata = map[string]string{"weight": "7"} }), false},
		{"U-13 the instance registers anew where it was", instance(func(in *mesh.Instance) { in.Incarnation++ }), false},
		{"U-6 the route is removed", routeNamed("chat", nil), true},
		{"U-6 the route leads elsewhere", routeNamed("chat", func(s *route.Spec) { s.Service = "elsewhere" }), true},
		{"U-6 the route takes something else", routeNamed("chat", func(s *route.Spec) { s.Prefix = "/talk" }), true},
		{"U-6 the route takes no WebSockets any more", routeNamed("chat", func(s *route.Spec) { s.Policy.Upgrades = route.UpgradesNone }), true},
		{"U-6 the route stands elsewhere in the file", routeNamed("chat", func(s *route.Spec) { s.Origin.Line = 99 }), false},
		{"U-6 the route retries more", routeNamed("chat", func(s *route.Spec) { s.Policy.Attempts = 3 }), false},
		{"U-6 another route is removed", routeNamed("other", nil), false},
		{"U-6 another service comes", func(in *route.Input) {
			in.Snapshot.Services["new"] = []*mesh.Instance{{ID: "n", Service: "new", Address: "pipe", Port: 9}}
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newPipeRig(t, echoing)
				defer r.close()
				r.change(func(in *route.Input) { in.Set = (&rigConfig{file: file}).set(t) })
				c := r.connect()
				br := r.handshake(c, "/chat/ws")
				expectFrame(t, br, opText, "hello")
				// What has no rule stays, whatever happens.
				free := r.connect()
				freeReader := r.handshake(free, "/other/ws")
				expectFrame(t, freeReader, opText, "hello")
				r.change(row.change)
				time.Sleep(29 * time.Second)
				expectEcho(t, c, br, "still here")
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if row.ends {
					expectStatus(t, br, 1001)
					_, _ = io.WriteString(c, masked(opClose, statusText(1001)))
					if rest, err := io.ReadAll(br); len(rest) > 0 || err != nil {
						t.Errorf("then came %q, %v", rest, err)
					}
				} else {
					expectEcho(t, c, br, "there for ever")
				}
				time.Sleep(10 * time.Hour)
				expectEcho(t, free, freeReader, "free")
			})
		})
	}
}

func expectEcho(t *testing.T, c net.Conn, br *bufio.Reader, text string) {
	t.Helper()
	_, _ = io.WriteString(c, masked(opText, text))
	expectFrame(t, br, opText, text)
}

func TestWhatComesBackInTimeStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRigOf(t, route.Policy{Drain: 30 * time.Second}, echoing)
		defer r.close()
		c := r.connect()
		br := r.handshake(c, "/api/svc/ws")
		expectFrame(t, br, opText, "hello")
		for range 3 {
			r.change(instance(func(in *mesh.Instance) { in.Health = mesh.Failing }))
			time.Sleep(20 * time.Second)
			r.change(instance(func(in *mesh.Instance) { in.Health = mesh.Passing }))
		}
		time.Sleep(time.Hour)
		expectEcho(t, c, br, "still here")
	})
}

func TestASilentWebSocketEndsWhenItsRouteSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRigOf(t, route.Policy{Tunnel: time.Hour}, echoing)
		defer r.close()
		c := r.connect()
		br := r.handshake(c, "/api/svc/ws")
		expectFrame(t, br, opText, "hello")
		for range 5 {
			time.Sleep(59 * time.Minute)
			expectEcho(t, c, br, "not silent")
		}
		start := time.Now()
		expectStatus(t, br, 1001)
		if d := time.Since(start); d.Truncate(time.Millisecond) != time.Hour {
			t.Errorf("W-8: it was closed after %v of silence, want an hour", d)
		}
	})
}

// W-8 half-open: what has lost one end does not go on with the other for long.
func TestHalfAWebSocketEnds(t *testing.T) {
	for _, whose := range []string{"client", "endpoint"} {
		t.Run("W-8 the "+whose+" ends without a close", func(t *testing.T) {
			both(t, func(t *testing.T, how mode) {
				ended := make(chan struct{})
				r := newRig(t, rigConfig{how: how}, newUpstream(t, scripted(func(c net.Conn, br *bufio.Reader) {
					defer close(ended)
					if whose == "endpoint" {
						return
					}
					_, _ = io.Copy(io.Discard, br)
				})))
				c, br := r.open("/api/svc/ws")
				if whose == "client" {
					_ = c.(*net.TCPConn).CloseWrite()
				}
				<-ended
				_, _ = io.Copy(io.Discard, br) // the other end is told
				_ = c.Close()
				r.record()
			})
		})
	}
	for _, row := range []struct {
		name  string
		reads bool
		stays time.Duration
	}{
		{"W-8 an endpoint that reads the answer and does not close", true, 3 * time.Second},
		{"W-8 an endpoint that does not read the answer", false, 30 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gone := make(chan struct{})
				r := newPipeRig(t, scripted(func(c net.Conn, br *bufio.Reader) {
					_, _ = io.WriteString(c, unmasked(opClose, statusText(1000)))
					if row.reads {
						_, _ = io.Copy(io.Discard, br)
					}
					<-gone // it does not close the connection
				}))
				defer r.close()
				defer close(gone)
				c := r.connect()
				br := r.handshake(c, "/api/svc/ws")
				start := time.Now()
				expectStatus(t, br, 1000)
				_, _ = io.WriteString(c, masked(opClose, statusText(1000)))
				if rest, err := io.ReadAll(br); len(rest) > 0 || err != nil {
					t.Errorf("then came %q, %v", rest, err)
				}
				if d := time.Since(start); d.Truncate(time.Millisecond) != row.stays {
					t.Errorf("the tunnel stayed for %v, want %v", d, row.stays)
				}
			})
		})
	}
}

func TestAnEndpointThatDrainsGetsNothingNewAndFinishes(t *testing.T) {
	bothNamed(t, "U-13", func(t *testing.T, how mode) {
		arrived, release := make(chan struct{}, 1), make(chan struct{})
		up := newRecorderFunc(t, func(n int, _ string) string {
			if n == 3 {
				arrived <- struct{}{}
				<-release
			}
			return okAnswer
		})
		r := newRig(t, rigConfig{how: how}, up.addr)
		pool := r.upstream().All()[0].Connections.(*http1.Pool)
		busy, idle := r.dial(), r.dial()
		_, _ = io.WriteString(idle, get(""))
		_ = answers(t, idle, "GET", 1)
		_, _ = io.WriteString(busy, get(""))
		_ = answers(t, busy, "GET", 1)
		_, _ = io.WriteString(busy, get(""))
		<-arrived
		_, _ = io.WriteString(idle, get("")) // beside the one under way: a second connection
		_ = answers(t, idle, "GET", 1)
		if n := pool.Open(); n != 2 {
			t.Fatalf("%d connections are open, want one in use and one idle", n)
		}
		r.change(instance(func(in *mesh.Instance) { in.Draining = true }))
		waitFor(t, "the one in use alone is open", func() bool {
			r.proxy.Review(r.table.Load()) // it may have been given back just now
			return pool.Open() == 1
		})
		_, _ = io.WriteString(idle, get(""))
		if got := answers(t, idle, "GET", 1)[0]; got.StatusCode != 503 {
			t.Errorf("a new request was answered %d, want 503", got.StatusCode)
		}
		close(release)
		if got := answers(t, busy, "GET", 1)[0]; got.StatusCode != 200 {
			t.Errorf("the request under way was answered %d, want 200", got.StatusCode)
		}
		waitFor(t, "its connection is closed too", func() bool {
			r.proxy.Review(r.table.Load()) // as the gateway does from time to time
			return pool.Open() == 0
		})
	})
}

func TestAnEndpointThatIsEjectedLosesItsWebSocketsByTheRule(t *testing.T) {
	bothNamed(t, "U-13", func(t *testing.T, how mode) {
		up := newUpstream(t, echoing)
		r := newRig(t, rigConfig{how: how, policy: route.Policy{Drain: time.Millisecond}}, up, newUpstream(t, echoing))
		u := r.upstream()
		conns := map[string]net.Conn{}
		readers := map[string]*bufio.Reader{}
		for len(conns) < 2 {
			c, br := r.open("/api/svc/ws")
			expectFrame(t, br, opText, "hello")
			for _, e := range u.All() {
				if e.InFlight() > 0 && conns[e.Addr] == nil {
					conns[e.Addr], readers[e.Addr] = c, br
				}
			}
		}
		out, stays := u.All()[0], u.All()[1]
		u.Rest(out, time.Minute)
		r.proxy.Review(r.table.Load())
		expectStatus(t, readers[out.Addr], 1001)
		expectEcho(t, conns[stays.Addr], readers[stays.Addr], "still here")
	})
}

func TestManyWebSocketsOutliveManyChanges(t *testing.T) {
	bothNamed(t, "U-6 500 WebSockets, 100 reloads", func(t *testing.T, how mode) {
		const file = "routes:\n  - {name: chat, match: {path: {prefix: /chat}}, to: {service: svc}, drain: 1ms}\n"
		r := newRig(t, rigConfig{how: how, file: file}, newUpstream(t, echoing))
		conns, readers := make([]net.Conn, 500), make([]*bufio.Reader, 500)
		for i := range conns {
			conns[i], readers[i] = r.open([]string{"/api/svc/ws", "/chat/ws"}[i%2])
			expectFrame(t, readers[i], opText, "hello")
		}
		for n := range 100 {
			r.change(func(in *route.Input) {
				in.Set.Routes = append(in.Set.Routes[:1:1], route.Spec{Name: "n", Prefix: fmt.Sprintf("/%d", n), Service: "svc"})
				in.Snapshot.Services[fmt.Sprintf("other-%d", n%7)] = []*mesh.Instance{{ID: fmt.Sprint(n), Service: "other", Address: "127.0.0.1", Port: 9}}
			})
			expectEcho(t, conns[n*5], readers[n*5], "still here")
		}
		for i, c := range conns {
			expectEcho(t, c, readers[i], fmt.Sprint("at the end ", i))
		}
		if n := r.proxy.Tunnels(); n != 500 {
			t.Errorf("U-6: %d tunnels are open, want 500", n)
		}
	})
}
