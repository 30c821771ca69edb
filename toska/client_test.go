package toska_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
)

func TestACallReachesAnInstanceByTheNameOfItsService(t *testing.T) {
	b := serve(t, "orders-1", nil)
	c := newClient(t, newFakeDiscovery(b.Instance))
	status, body, err := get(t.Context(), c, "toska://Orders/a%2Fb/?page=2")
	if err != nil || status != 200 || body != "orders-1" {
		t.Fatalf("got %d %q, %v", status, body, err)
	}
	saw := b.saw()[0]
	if saw.target != "/a%2Fb/?page=2" || saw.host != b.HostPort() {
		t.Errorf("the instance was asked for %q at %q", saw.target, saw.host)
	}
}

func TestCallsAreSpread(t *testing.T) {
	for _, strategy := range []string{"", "RoundRobin"} {
		t.Run("by "+strategy, func(t *testing.T) {
			a, b := serve(t, "a", nil), serve(t, "b", nil)
			a.Metadata = map[string]string{"lb_strategy": strategy}
			c := newClient(t, newFakeDiscovery(a.Instance, b.Instance))
			got := map[string]int{}
			for range 100 {
				got[mustGet(t, c)]++
			}
			if got["a"] < 20 || got["b"] < 20 {
				t.Errorf("100 calls went to %v", got)
			}
			if strategy != "" && got["a"] != 50 {
				t.Errorf("in turn, 100 calls went to %v", got)
			}
		})
	}
}

func TestWhatIsNoCallIsRefusedWithWords(t *testing.T) {
	d := newFakeDiscovery()
	c := newClient(t, d)
	for _, tt := range []struct{ name, url, code, words string }{
		{"a URL outside of the mesh", "http://example.com/x", mesh.CodeInvalid, "its scheme is http"},
		{"a port", "toska://orders:80/x", mesh.CodeInvalid, "it has a port"},
		{"no service", "toska:///x", mesh.CodeInvalid, "it names no service"},
		{"a name that is none", "toska://a$b/x", mesh.CodeInvalid, "no name of a service"},
		{"a service that nobody registered", "toska://nobody/x", "TOSKA-SERVICE-NONE", "no instance of this service is registered"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := get(t.Context(), c, tt.url)
			if err == nil || !strings.Contains(err.Error(), tt.words) {
				t.Fatalf("error %v, want %q in it", err, tt.words)
			}
			if tt.code != "" && codeOf(t, err) != tt.code {
				t.Errorf("code %s, want %s", codeOf(t, err), tt.code)
			}
		})
	}
}

func TestU3WhenEveryInstanceIsFailingTheErrorSaysWhy(t *testing.T) {
	a, b := serve(t, "a", nil), serve(t, "b", nil)
	a.Health, b.Draining = mesh.Failing, true
	c := newClient(t, newFakeDiscovery(a.Instance, b.Instance))
	_, _, err := get(t.Context(), c, "toska://orders/x")
	if !errors.Is(err, mesh.ErrUnavailable) || codeOf(t, err) != "TOSKA-UP-NONE" ||
		!strings.Contains(err.Error(), "1 failing, 1 draining") {
		t.Errorf("error %v", err)
	}
}

func TestU3WhenNobodyCanBeReachedTheErrorNamesEachThatWasTried(t *testing.T) {
	a, b := closed(t, "orders-a"), closed(t, "orders-b")
	c := newClient(t, newFakeDiscovery(a, b))
	_, _, err := get(t.Context(), c, "toska://orders/x")
	if codeOf(t, err) != "TOSKA-UP-CONN-REFUSED" || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{"GET toska://orders/x", "orders-a at " + a.HostPort() + ": the endpoint refused the connection", "orders-b at "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}

func TestN17AnInstanceThatIsKilledFailsAtMostOneCall(t *testing.T) {
	victim, other := serve(t, "victim", nil), serve(t, "other", nil)
	c := newClient(t, newFakeDiscovery(victim.Instance, other.Instance))
	var failed, done atomic.Int64
	var wg sync.WaitGroup
	const workers, each = 4, 150
	for range workers {
		wg.Go(func() {
			for range each {
				if status, _, err := get(t.Context(), c, "toska://orders/x"); err != nil || status != 200 {
					t.Logf("%d, %v", status, err)
					failed.Add(1)
				}
				if done.Add(1) == workers*each/3 {
					_ = victim.server.Listener.Close()
					victim.server.CloseClientConnections()
				}
			}
		})
	}
	wg.Wait()
	if failed.Load() > 1 {
		t.Errorf("%d of %d calls failed, want at most 1", failed.Load(), workers*each)
	}
}

func TestU13ADrainingInstanceIsNotPickedAndItsStreamsEndByThemselves(t *testing.T) {
	release := make(chan struct{})
	slow := serve(t, "slow", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "begin ")
		_ = http.NewResponseController(w).Flush()
		<-release
		_, _ = io.WriteString(w, "end")
	})
	other := serve(t, "other", nil)
	d := newFakeDiscovery(slow.Instance)
	c := newClient(t, d)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "toska://orders/x", nil)
	res, err := c.HTTP().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	drained := *slow.Instance
	drained.Draining = true
	d.set(&drained, other.Instance)
	eventually(t, "the drain", func() bool { return endpoints(t, c) == "other" })
	for range 20 {
		if got := mustGet(t, c); got != "other" {
			t.Fatalf("%s was picked", got)
		}
	}
	close(release)
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "begin end" {
		t.Errorf("the stream brought %q, %v", body, err)
	}
}

// endpoints are the ids of those that may be picked now.
func endpoints(t *testing.T, c *toska.Client) string {
	t.Helper()
	u, err := c.Upstream("orders")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	list, _, _ := u.Endpoints()
	var ids []string
	for _, e := range list {
		ids = append(ids, e.Instance)
	}
	return strings.Join(ids, " ")
}

func TestRetriesAreBoundedByTheBudgetWhenAllAnswer503(t *testing.T) {
	away := func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "away", http.StatusServiceUnavailable) }
	a, b := serve(t, "a", away), serve(t, "b", away)
	c := newClient(t, newFakeDiscovery(a.Instance, b.Instance))
	const n = 300
	for range n {
		status, body, err := get(t.Context(), c, "toska://orders/x")
		if err != nil || status != 503 || body != "away\n" {
			t.Fatalf("got %d %q, %v; want the instance's own answer", status, body, err)
		}
	}
	total := len(a.saw()) + len(b.saw())
	if total > n*12/10+10 || total < n+10 {
		t.Errorf("%d requests for %d calls, want at most a fifth on top, and the reserve of 10", total, n)
	}
}

func TestAnInstanceThatAsksForARestGetsIt(t *testing.T) {
	busy := serve(t, "busy", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	free := serve(t, "free", nil)
	c := newClient(t, newFakeDiscovery(busy.Instance, free.Instance))
	for range 50 {
		mustGet(t, c)
	}
	if n := len(busy.saw()); n > 1 {
		t.Errorf("the busy instance was asked %d times", n)
	}
}

func TestWrongAnswersAreTriedElsewhereAndTheirInstanceIsLeftOut(t *testing.T) {
	read := func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }
	for name, answer := range map[string]string{
		"nothing":     "",
		"nonsense":    "what?\r\n\r\n",
		"half a head": "HTTP/1.1 200 OK\r\nContent-",
		"two lengths": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
	} {
		t.Run(name, func(t *testing.T) {
			var wrongs atomic.Int64
			wrong := raw(t, "wrong", func(c net.Conn) {
				read(c)
				wrongs.Add(1)
				_, _ = io.WriteString(c, answer)
			})
			right := serve(t, "right", nil)
			c := newClient(t, newFakeDiscovery(wrong, right.Instance))
			for range 60 {
				if got := mustGet(t, c); got != "right" {
					t.Fatalf("got %q", got)
				}
			}
			if n := wrongs.Load(); n > 10 {
				t.Errorf("the wrong instance was asked %d times: it was not left out", n)
			}
		})
	}
}

func TestAnInstanceThatDoesNotAnswerInTimeIsGivenUp(t *testing.T) {
	mute := raw(t, "mute", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	c := newClient(t, newFakeDiscovery(mute), toska.WithAttemptTimeout(50*time.Millisecond))
	_, _, err := get(t.Context(), c, "toska://orders/x")
	if codeOf(t, err) != "TOSKA-UP-TIMEOUT" || !strings.Contains(err.Error(), "did not answer in time") {
		t.Errorf("error %v", err)
	}
}

func TestU15ACallerWhoLeavesSaysNothingOfTheInstance(t *testing.T) {
	var hang atomic.Bool
	hang.Store(true)
	arrived := make(chan struct{}, 100)
	program := func(id string) *backend {
		return serve(t, id, func(w http.ResponseWriter, r *http.Request) {
			if hang.Load() {
				arrived <- struct{}{}
				<-r.Context().Done()
				return
			}
			_, _ = io.WriteString(w, id)
		})
	}
	a, b := program("a"), program("b")
	c := newClient(t, newFakeDiscovery(a.Instance, b.Instance))
	const n = 40
	for range n {
		ctx, leave := context.WithCancel(t.Context())
		go func() { <-arrived; leave() }()
		if _, _, err := get(ctx, c, "toska://orders/x"); !errors.Is(err, context.Canceled) {
			t.Fatalf("error %v", err)
		}
	}
	if got := len(a.saw()) + len(b.saw()); got != n {
		t.Errorf("%d requests for %d callers who left: the work went on", got, n)
	}
	hang.Store(false)
	got := map[string]int{}
	for range 60 {
		got[mustGet(t, c)]++
	}
	if got["a"] == 0 || got["b"] == 0 {
		t.Errorf("later calls went to %v: an instance was left out", got)
	}
}

func TestU15NothingIsTriedForACallerWhoHasLeft(t *testing.T) {
	b := serve(t, "a", nil)
	c := newClient(t, newFakeDiscovery(b.Instance))
	mustGet(t, c)
	ctx, leave := context.WithCancel(t.Context())
	leave()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "toska://orders/x", nil)
	res, err := c.RoundTrip(req)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", res, err)
	}
	if len(b.saw()) != 1 {
		t.Errorf("the instance was asked %d times", len(b.saw()))
	}
}

// stream is a body that cannot be had again, nor read once it is closed.
type stream struct {
	io.Reader
	closed atomic.Bool
}

func (s *stream) Read(p []byte) (int, error) {
	if s.closed.Load() {
		return 0, os.ErrClosed
	}
	return s.Reader.Read(p)
}

func (s *stream) Close() error { s.closed.Store(true); return nil }

func TestU7WhichRequestsAreSentAgain(t *testing.T) {
	content := strings.Repeat("0123456789", 20_000) // more than a socket takes unread
	for _, tt := range []struct {
		name   string
		method string
		body   func() io.Reader
		key    string
		dead   bool // the bad instance refuses connections, instead of answering 503
		served bool
	}{
		{"a PUT whose body can be had again", http.MethodPut, func() io.Reader { return strings.NewReader(content) }, "", false, true},
		{"U-7 a POST is not", http.MethodPost, func() io.Reader { return strings.NewReader(content) }, "", false, false},
		{"a POST with an Idempotency-Key is", http.MethodPost, func() io.Reader { return strings.NewReader(content) }, "k", false, true},
		{"U-7 a PUT whose body cannot is not", http.MethodPut, func() io.Reader { return &stream{Reader: strings.NewReader(content)} }, "", false, false},
		{"U-7 a POST of which nothing was sent goes elsewhere", http.MethodPost, func() io.Reader { return strings.NewReader(content) }, "", true, true},
		{"U-7 so does one whose body cannot be had again", http.MethodPost, func() io.Reader { return &stream{Reader: strings.NewReader(content)} }, "", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			good := serve(t, "good", nil)
			bad := serve(t, "bad", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
			if tt.dead {
				bad.Instance = closed(t, "bad")
			}
			sent := 0
			for range 12 { // whichever is picked first
				c := newClient(t, newFakeDiscovery(good.Instance, bad.Instance))
				before := len(good.saw()) + len(bad.saw())
				req, _ := http.NewRequestWithContext(t.Context(), tt.method, "toska://orders/x", tt.body())
				if tt.key != "" {
					req.Header.Set("Idempotency-Key", tt.key)
				}
				res, err := c.HTTP().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				if body, ok := req.Body.(*stream); ok {
					eventually(t, "the end of the request's body", body.closed.Load)
				}
				if tt.served && res.StatusCode != 200 {
					t.Errorf("status %d, want the other instance to serve", res.StatusCode)
				}
				if n := len(good.saw()) + len(bad.saw()) - before; n > 1 && !tt.served {
					t.Errorf("sent %d times", n)
				} else {
					sent += n
				}
			}
			for _, saw := range append(good.saw(), bad.saw()...) {
				if saw.body != content {
					t.Errorf("an instance got %d bytes of %d", len(saw.body), len(content))
				}
			}
			if !tt.dead && len(bad.saw()) == 0 {
				t.Error("the bad instance was never picked: the test has shown nothing")
			}
		})
	}
}

func TestU7APostThatIsBrokenOffInItsBodyIsNotRepeated(t *testing.T) {
	var conns atomic.Int64
	cut := func(c net.Conn) {
		conns.Add(1)
		_, _ = io.ReadFull(c, make([]byte, 1000))
	}
	a, b := raw(t, "a", cut), raw(t, "b", cut)
	c := newClient(t, newFakeDiscovery(a, b))
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "toska://orders/x", bytes.NewReader(make([]byte, 1<<20)))
	res, err := c.HTTP().Do(req)
	if err == nil {
		_ = res.Body.Close()
		t.Fatalf("status %d", res.StatusCode)
	}
	if codeOf(t, err) != "TOSKA-UP-RESET" || conns.Load() != 1 {
		t.Errorf("%d connections, error %v", conns.Load(), err)
	}
}

func TestABodyThatFailsIsTheCallersOwnFault(t *testing.T) {
	own := errors.New("the disk is gone")
	b := serve(t, "a", nil)
	c := newClient(t, newFakeDiscovery(b.Instance))
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, "toska://orders/x", io.MultiReader(strings.NewReader("abc"), failing{own}))
	res, err := c.HTTP().Do(req)
	if err == nil {
		_ = res.Body.Close()
	}
	if !errors.Is(err, own) {
		t.Errorf("error %v, want the body's own", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
