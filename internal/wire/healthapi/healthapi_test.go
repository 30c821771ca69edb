package healthapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/internal/wire/healthapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type tokens struct{}

func (tokens) Verify(t string) (identity.Role, bool) { return identity.Service, t == "service-token" }

// fixed is fake: it answers with what it has.
type fixed struct {
	probes []mesh.ProbeStatus
	err    error
}

func (f fixed) Probes(_ context.Context, service string) ([]mesh.ProbeStatus, error) {
	var out []mesh.ProbeStatus
	for _, st := range f.probes {
		if service == "" || mesh.ServiceKey(service) == mesh.ServiceKey(st.Service) {
			out = append(out, st)
		}
	}
	return out, f.err
}

func (f fixed) ProbeNow(_ context.Context, id string) (mesh.ProbeStatus, error) {
	for _, st := range f.probes {
		if st.ID == id {
			return st, f.err
		}
	}
	return mesh.ProbeStatus{}, &mesh.Error{Kind: mesh.ErrNotFound, Code: mesh.CodeInstanceNone, Detail: "gone"}
}

func handler(p mesh.Probing, l httpapi.Listener) http.Handler {
	log := slog.New(slog.DiscardHandler)
	mux := http.NewServeMux()
	healthapi.Mount(httpapi.NewAPI(mux, "0.0.0-test", log), p)
	return httpapi.Handler(mux, l, tokens{}, log)
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = httpapi.NewServer(h, slog.New(slog.DiscardHandler)).Serve(ctx, ln, time.Second) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return ln.Addr().String()
}

func sample() []mesh.ProbeStatus {
	return []mesh.ProbeStatus{
		{ID: "o:1", Service: "Orders", Incarnation: 7, Target: "https://10.0.0.7:81/h", At: time.Unix(1, 5).UTC(), Took: 3 * time.Millisecond,
			Output: "500 Internal Server Error", InARow: 4, Health: mesh.Failing,
			Check: mesh.Check{HTTP: "/h", TLS: true, Port: 81, Interval: 10 * time.Second, Timeout: 2 * time.Second, Up: 2, Down: 3}},
		{ID: "w-1", Service: "web", Incarnation: 8, Target: "tcp 10.0.0.8:80",
			Check: mesh.Check{Port: 80, Interval: time.Second, Timeout: 100 * time.Millisecond, Up: 1, Down: 1}},
	}
}

func TestClientSeesTheProbesAsTheyAre(t *testing.T) {
	c := healthapi.NewClient(serve(t, handler(fixed{probes: sample()}, httpapi.Listener{Loopback: true})), "service-token")
	defer c.Close()
	for service, want := range map[string][]mesh.ProbeStatus{"": sample(), "oRDERS": sample()[:1], "nobody & co": {}} {
		got, err := c.Probes(t.Context(), service)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("probes of %q over the wire (-want +got):\n%s", service, diff)
		}
	}
	got, err := c.ProbeNow(t.Context(), "o:1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample()[0], got); diff != "" {
		t.Errorf("a probe over the wire (-want +got):\n%s", diff)
	}
	if _, err := c.ProbeNow(t.Context(), "no/body"); !errors.Is(err, mesh.ErrNotFound) {
		t.Errorf("ProbeNow of nobody = %v", err)
	}
}

func TestProbingNeedsATokenAndReadingDoesNotOnLoopback(t *testing.T) {
	c := healthapi.NewClient(serve(t, handler(fixed{probes: sample()}, httpapi.Listener{Loopback: true})), "")
	defer c.Close()
	if _, err := c.Probes(t.Context(), ""); err != nil {
		t.Errorf("reading = %v", err)
	}
	if _, err := c.ProbeNow(t.Context(), "w-1"); !errors.Is(err, mesh.ErrUnauthenticated) {
		t.Errorf("probing = %v, want ErrUnauthenticated", err)
	}
}

func TestClientErrorsKeepTheirKind(t *testing.T) {
	for _, kind := range []error{mesh.ErrInvalid, mesh.ErrNotFound, mesh.ErrForbidden, mesh.ErrUnavailable} {
		t.Run(kind.Error(), func(t *testing.T) {
			given := &mesh.Error{Kind: kind, Code: "TOSKA-TEST", Detail: "told", Fields: []mesh.FieldError{{Field: "f", Problem: "p"}}}
			c := healthapi.NewClient(serve(t, handler(fixed{probes: sample(), err: given}, httpapi.Listener{Loopback: true})), "service-token")
			defer c.Close()
			_, err := c.Probes(t.Context(), "")
			_, now := c.ProbeNow(t.Context(), "w-1")
			for _, err := range []error{err, now} {
				if !errors.Is(err, kind) || mesh.CodeOf(err) != "TOSKA-TEST" || err.Error() != given.Error() {
					t.Errorf("error = %v, want %v", err, given)
				}
			}
		})
	}
}

func TestClientErrors(t *testing.T) {
	says := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
	}
	ended, end := context.WithCancel(t.Context())
	end()
	for _, tc := range []struct {
		name    string
		ctx     context.Context
		control string
		kind    error
		says    string
	}{
		{"no node", t.Context(), "127.0.0.1:1", mesh.ErrUnavailable, "127.0.0.1:1"},
		{"a node that makes no probes", t.Context(), serve(t, httpapi.Handler(http.NewServeMux(), httpapi.Listener{Loopback: true}, tokens{}, slog.New(slog.DiscardHandler))),
			mesh.ErrNotFound, "/api/v1/probes"},
		{"an answer that is none", t.Context(), serve(t, says("<html>")), nil, "none of ours"},
		{"a health that is none", t.Context(), serve(t, says(`{"probes":[{"id":"a","health":"fine"}]}`)), mesh.ErrInvalid, "fine"},
		{"a duration that is none", t.Context(), serve(t, says(`{"probes":[{"id":"a","took":"long"}]}`)), nil, "long"},
		{"a caller that has gone", ended, "127.0.0.1:1", context.Canceled, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := healthapi.NewClient(tc.control, "")
			defer c.Close()
			_, err := c.Probes(tc.ctx, "")
			if err == nil || tc.kind != nil && !errors.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error = %v, want %v that says %q", err, tc.kind, tc.says)
			}
		})
	}
}

func TestREST(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), "GET", "http://127.0.0.1:5010/api/v1/probes?service=web", nil)
	w := httptest.NewRecorder()
	handler(fixed{probes: sample()}, httpapi.Listener{Loopback: true}).ServeHTTP(w, r)
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %v: %s", w.Code, err, w.Body)
	}
	delete(got, "$schema")
	want := map[string]any{"probes": []any{map[string]any{"id": "w-1", "service": "web", "incarnation": 8.0, "target": "tcp 10.0.0.8:80",
		"ok": false, "inARow": 0.0, "health": "passing",
		"check": map[string]any{"port": 80.0, "interval": "1s", "timeout": "100ms", "up": 1.0, "down": 1.0}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}
