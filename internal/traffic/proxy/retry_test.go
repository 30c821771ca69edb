package proxy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/proxy"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
)

const away = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\naway"

// retrying is the default policy of a gateway.
func retrying() rigConfig { return rigConfig{policy: route.Policy{Attempts: 2, Budget: 0.2}} }

func TestAnIdempotentRequestIsRetriedElsewhereWhenItsEndpointIsUnwell(t *testing.T) {
	rows := []struct {
		name, answer string
		request      string
		status       int
		sent         int // to both endpoints together
	}{
		{"a 503", away, get(""), 200, 2},
		{"a 502", "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", get(""), 200, 2},
		{"a connection that closes", "", get(""), 200, 2},
		{"a malformed answer", "nonsense\r\n\r\n<close>", get(""), 200, 2},
		{"a PUT with a small body", away, "PUT /api/svc/x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", 200, 2},
		{"a 500 is an answer", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", get(""), 500, 1},
		{"U-7 a POST is not", away, post("Content-Length: 3\r\n", "abc"), 503, 1},
		{"U-7 a POST that was broken off is not", "", post("Content-Length: 3\r\n", "abc"), 502, 1},
		{"a chunked PUT is not: it cannot be sent again", away, "PUT /api/svc/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 503, 1},
	}
	for _, row := range rows {
		bothNamed(t, row.name, func(t *testing.T, how mode) {
			// Whichever of the two is asked first fails; the other one serves.
			failed := make(chan struct{}, 1)
			answer := func(int, string) string {
				select {
				case failed <- struct{}{}:
					return row.answer
				default:
					return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
				}
			}
			a, b := newRecorderFunc(t, answer), newRecorderFunc(t, answer)
			cfg := retrying()
			cfg.how = how
			r := newRig(t, cfg, a.addr, b.addr)
			got := r.ask(row.request)
			if got != row.status {
				t.Errorf("status %d, want %d", got, row.status)
			}
			if n := len(a.saw()) + len(b.saw()); n != row.sent {
				t.Errorf("sent %d times, want %d", n, row.sent)
			}
			if strings.Contains(row.request, "abc") {
				for _, saw := range append(a.saw(), b.saw()...) {
					if !strings.Contains(saw, "abc") {
						t.Errorf("sent without its body: %q", saw)
					}
				}
			}
		})
	}
}

func TestU4AnEndpointThatFailsEverythingCostsLittleAndIsEjected(t *testing.T) {
	bad, one, two := newRecorder(t, away), newRecorder(t, ""), newRecorder(t, "")
	r := newRig(t, retrying(), bad.addr, one.addr, two.addr)
	const n = 1000
	c := r.dial()
	failures := 0
	for range n {
		if _, err := fmt.Fprint(c, get("")); err != nil {
			t.Fatal(err)
		}
		if answers(t, c, "GET", 1)[0].StatusCode != 200 {
			failures++
		}
	}
	total := len(bad.saw()) + len(one.saw()) + len(two.saw())
	if failures > n/100 || total > n*12/10 {
		t.Errorf("%d of %d failed, %d requests in all; want less than 1 %% and at most 1.2 times", failures, n, total)
	}
	if len(bad.saw()) > 20 {
		t.Errorf("the bad endpoint got %d requests: it was not ejected", len(bad.saw()))
	}
}

func TestU4WhenAllFailTheBudgetBoundsWhatIsAdded(t *testing.T) {
	a, b := newRecorder(t, away), newRecorder(t, away)
	r := newRig(t, retrying(), a.addr, b.addr)
	const n = 500
	c := r.dial()
	for range n {
		if _, err := fmt.Fprint(c, get("")); err != nil {
			t.Fatal(err)
		}
		if resp := answers(t, c, "GET", 1)[0]; resp.StatusCode != 503 {
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
	// The reserve of ten retries comes on top.
	if total := len(a.saw()) + len(b.saw()); total > n*12/10+10 {
		t.Errorf("%d requests for %d, want at most 1.2 times and the reserve", total, n)
	}
}

func TestAnEndpointThatAsksToBeLeftAloneIs(t *testing.T) {
	var busy, free *recorder
	busy = newRecorder(t, "HTTP/1.1 503 Busy\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n")
	free = newRecorder(t, "")
	r := newRig(t, retrying(), busy.addr, free.addr)
	for range 50 {
		if got := r.ask(get("Connection: close\r\n")); got != 200 {
			t.Fatalf("status %d", got)
		}
	}
	if n := len(busy.saw()); n > 1 {
		t.Errorf("the busy endpoint got %d requests, want the one that it answered with Retry-After", n)
	}
}

func TestEveryOneOfSeveralAttemptsIsRecorded(t *testing.T) {
	bad, dead := newRecorder(t, away), listenLocal(t)
	_ = dead.Close()
	rows := []struct {
		name      string
		endpoints []string
		tried     []string // the codes
	}{
		{"one that serves is none of several", []string{newRecorder(t, "").addr}, nil},
		{"one that is unwell is none of several", []string{bad.addr}, nil},
		{"two that are unwell", []string{bad.addr, newRecorder(t, away).addr}, []string{proxy.CodeUnwell, proxy.CodeUnwell}},
		{"two that cannot be connected to", []string{dead.Addr().String(), dead.Addr().String()}, []string{proxy.CodeRefused, proxy.CodeRefused}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t, retrying(), row.endpoints...)
			r.ask(get(""))
			rec := r.record()
			var codes []string
			for _, a := range rec.Tried {
				codes = append(codes, a.Code)
				if !slices.Contains(row.endpoints, a.Endpoint) || a.Reason == "" {
					t.Errorf("attempt %+v", a)
				}
			}
			if !slices.Equal(codes, row.tried) {
				t.Errorf("tried %v, want %v", codes, row.tried)
			}
		})
	}
	t.Run("one that fails and one that serves", func(t *testing.T) {
		good := newRecorder(t, "")
		r := newRig(t, retrying(), bad.addr, good.addr)
		for range 50 {
			r.ask(get(""))
			rec := r.record()
			if rec.Attempts < 2 {
				continue
			}
			want := []exchange.Attempt{{Endpoint: bad.addr, Code: proxy.CodeUnwell, Reason: "the endpoint answers that it cannot serve"}, {Endpoint: good.addr}}
			if !slices.Equal(rec.Tried, want) {
				t.Errorf("tried %+v, want %+v", rec.Tried, want)
			}
			u := r.table.Load().Upstream("svc")
			if u.Counts.Retries() == 0 {
				t.Error("no retry was counted")
			}
			return
		}
		t.Error("the bad endpoint was never asked first")
	})
}

func TestRetriesEndWithTheTotalTimeout(t *testing.T) {
	cfg := rigConfig{policy: route.Policy{Attempts: 4, Budget: 1, PerTry: 80 * time.Millisecond, Total: 120 * time.Millisecond}}
	hang := func() string { return newUpstream(t, sink) }
	r := newRig(t, cfg, hang(), hang(), hang(), hang())
	begin := time.Now()
	got := r.ask(get(""))
	if took := time.Since(begin); got != 504 || took > time.Second {
		t.Errorf("status %d after %s", got, took)
	}
	if rec := r.record(); rec.Attempts != 2 {
		t.Errorf("%d attempts in the time of one and a half", rec.Attempts)
	}
}

func TestH1_29ARequestThatComesRoundAgainIsRefused(t *testing.T) {
	rows := []struct {
		name, field string
		status      int
		passed      string
	}{
		{"a first visit is counted", "", 200, "Toska-Hops: 1\r\n"},
		{"a later one is raised", "Toska-Hops: 6\r\n", 200, "Toska-Hops: 7\r\n"},
		{"the greatest of several counts", "Toska-Hops: 1\r\nToska-Hops: 8\r\n", 508, ""},
		{"one too many", "Toska-Hops: 8\r\n", 508, ""},
		{"what is no number is too many", "Toska-Hops: x\r\n", 508, ""},
		{"another spelling lowers nothing", "Toska_Hops: 3\r\n", 200, "Toska-Hops: 1\r\n"},
	}
	for _, row := range rows {
		bothNamed(t, "H1-29 "+row.name, func(t *testing.T, how mode) {
			up := newRecorder(t, "")
			r := newRig(t, rigConfig{how: how}, up.addr)
			got := r.send(get(row.field+"Connection: close\r\n") + marker)
			if all := strings.Join(up.saw(), ""); strings.Contains(all, "marker") || row.passed == "" && all != "" {
				t.Errorf("the endpoint saw %q", all)
			}
			if statusOf(got) != row.status {
				t.Fatalf("status %d, want %d: %q", statusOf(got), row.status, got)
			}
			if row.passed != "" && !strings.Contains(up.saw()[0], row.passed) {
				t.Errorf("the endpoint saw %q, want %q", up.saw()[0], row.passed)
			}
		})
	}
}

// ask sends a request on a new connection and returns the status, without closing its own side: a client
// that does is taken for one that left while the gateway tries again.
func (r *rig) ask(raw string) int {
	r.t.Helper()
	c := r.dial()
	if _, err := fmt.Fprint(c, raw); err != nil {
		r.t.Fatal(err)
	}
	method, _, _ := strings.Cut(raw, " ")
	return answers(r.t, c, method, 1)[0].StatusCode
}
