package toska_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/toska-mesh/toska-mesh/toska"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	parent  = "00-" + traceID + "-00f067aa0ba902b7-01"
)

// relayed lets a request with the given fields arrive at a service that calls orders while it serves, and
// returns the fields that orders got.
func relayed(t *testing.T, fields map[string]string) http.Header {
	t.Helper()
	b := serve(t, "a", nil)
	c := newClient(t, newFakeDiscovery(b.Instance))
	front := toska.Continue(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if status, _, err := get(r.Context(), c, "toska://orders/x"); err != nil || status != 200 {
			t.Errorf("got %d, %v", status, err)
		}
	}))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	for name, value := range fields {
		for v := range strings.SplitSeq(value, "|") {
			r.Header.Add(name, v)
		}
	}
	front.ServeHTTP(httptest.NewRecorder(), r)
	return b.saw()[0].header
}

func TestWhatCameWithARequestGoesOnToTheServicesThatItCalls(t *testing.T) {
	for _, tt := range []struct {
		name  string
		came  map[string]string
		field string
		want  string
	}{
		{"the trace", map[string]string{"traceparent": parent}, "Traceparent", parent},
		{"the correlation id", map[string]string{"X-Correlation-ID": "c-1"}, "X-Correlation-ID", "c-1"},
		{"else the request's id", map[string]string{"X-Request-Id": "r-1"}, "X-Correlation-ID", "r-1"},
		{"the first that is sane", map[string]string{"X-Request-Id": "r-1", "X-Correlation-ID": "a b"}, "X-Correlation-ID", "r-1"},
		{"the hops, unchanged", map[string]string{"Toska-Hops": "1|3"}, "Toska-Hops", "1|3"},
		{"no deadline where there is none", nil, "Toska-Timeout", ""},
		{"no deadline that is none", map[string]string{"Toska-Timeout": "soon"}, "Toska-Timeout", ""},
		{"no trace where there is none", nil, "Traceparent", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(relayed(t, tt.came).Values(tt.field), "|"); got != tt.want {
				t.Errorf("orders got %s: %q, want %q", tt.field, got, tt.want)
			}
		})
	}
	t.Run("a correlation id begins where none came", func(t *testing.T) {
		if got := relayed(t, nil).Get("X-Correlation-ID"); len(got) < 20 {
			t.Errorf("orders got %q", got)
		}
	})
	t.Run("what is left of the deadline", func(t *testing.T) {
		got, err := strconv.Atoi(relayed(t, map[string]string{"Toska-Timeout": "5000"}).Get("Toska-Timeout"))
		if err != nil || got > 5000 || got < 3000 {
			t.Errorf("orders got %d, %v, want a little less than 5000", got, err)
		}
	})
}

func TestWhatTheCallerWroteIsNotOverwritten(t *testing.T) {
	b := serve(t, "a", nil)
	c := newClient(t, newFakeDiscovery(b.Instance))
	ctx, cancel := context.WithTimeout(toska.ContextWithCorrelation(t.Context(), "other"), time.Minute)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "toska://orders/x", nil)
	req.Host = "shop.example"
	req.Header.Set("X-Correlation-ID", "mine")
	req.Header.Set("Toska-Timeout", "7")
	before := req.Header.Clone()
	res, err := c.HTTP().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	saw := b.saw()[0]
	if saw.host != "shop.example" || saw.header.Get("X-Correlation-ID") != "mine" || saw.header.Get("Toska-Timeout") != "7" {
		t.Errorf("orders was asked at %q with %v", saw.host, saw.header)
	}
	if diff := cmp.Diff(before, req.Header); diff != "" {
		t.Errorf("the caller's request was modified:\n%s", diff)
	}
}

func TestARedirectWithinTheServiceIsFollowed(t *testing.T) {
	b := serve(t, "a", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/x" {
			http.Redirect(w, r, "/y", http.StatusFound)
			return
		}
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "http://example.com/", http.StatusFound)
		}
	})
	c := newClient(t, newFakeDiscovery(b.Instance))
	mustGet(t, c)
	if saw := b.saw(); len(saw) != 2 || saw[1].target != "/y" {
		t.Errorf("asked for %v", saw)
	}
	if _, _, err := get(t.Context(), c, "toska://orders/away"); err == nil || !strings.Contains(err.Error(), "outside of the mesh") {
		t.Errorf("a redirect out of the mesh: %v", err)
	}
}

func TestEachAttemptIsASpan(t *testing.T) {
	good := serve(t, "good", nil)
	spans := tracetest.NewSpanRecorder()
	provider := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
	dead := closed(t, "dead")
	d := newFakeDiscovery(dead)
	c := newClient(t, d, toska.WithTracerProvider(provider))
	if _, _, err := get(t.Context(), c, "toska://me:secret@orders/x?q=1"); err == nil {
		t.Fatal("nobody answered, and there is no error")
	}
	d.set(good.Instance)
	eventually(t, "the good instance", func() bool { return endpoints(t, c) == "good" })
	mustGet(t, c)
	ended := spans.Ended()
	if len(ended) != 2 {
		t.Fatalf("%d spans, want 2", len(ended))
	}
	attributes := func(s trace.ReadOnlySpan) map[string]any {
		out := map[string]any{}
		for _, kv := range s.Attributes() {
			out[string(kv.Key)] = kv.Value.AsInterface()
		}
		return out
	}
	want := map[string]any{
		"http.request.method": "GET", "server.address": "127.0.0.1", "server.port": int64(dead.Port),
		"url.full": "toska://orders/x?q=1", "service.peer.name": "orders", "toska.instance": "dead",
		"error.type": "TOSKA-UP-CONN-REFUSED",
	}
	if diff := cmp.Diff(want, attributes(ended[0])); diff != "" || ended[0].Status().Code != codes.Error {
		t.Errorf("span of the failed attempt (-want +got):\n%s\nstatus %v", diff, ended[0].Status())
	}
	if got := ended[1].Attributes(); !slices.Contains(got, attribute.Int("http.response.status_code", 200)) || ended[1].Status().Code != codes.Unset {
		t.Errorf("span of the served attempt: %v, status %v", got, ended[1].Status())
	}
	if got := good.saw()[0].header.Get("Traceparent"); !strings.Contains(got, ended[1].SpanContext().SpanID().String()) {
		t.Errorf("the instance got traceparent %q, want span %s", got, ended[1].SpanContext().SpanID())
	}
}
