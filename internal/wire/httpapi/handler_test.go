package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestN15OnlyExactPathsAreServed(t *testing.T) {
	mux := http.NewServeMux()
	httpapi.MountHealth(mux, fixed{status: mesh.Status{Ready: true}}, nil)
	h := httpapi.Handler(mux, loopback(), tokens{}, silent())
	for path, want := range map[string]int{
		"/livez": 200, "/health/live": 200, "/livez?verbose": 200,
		"/livez/": 404, "/livezz": 404, "/live": 404, "//livez": 404, "/./livez": 404, "/x/../livez": 404,
		"/health/": 404, "/health/live/x": 404, "/Health": 404, "/health%2Flive": 404, "/": 404,
	} {
		if w := get(t, h, path); w.Code != want {
			t.Errorf("GET %s: %d, want %d", path, w.Code, want)
		} else if want == 404 {
			if p := problem(t, w); p.Code != mesh.CodeNotFound || p.DocURL != "/docs/errors/"+mesh.CodeNotFound {
				t.Errorf("GET %s: code %s, page %s", path, p.Code, p.DocURL)
			}
		}
	}
}

func TestWrongMethodIsAProblem(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /thing", whoami)
	w := get(t, httpapi.Handler(mux, loopback(), tokens{}, silent()), "/thing", func(r *http.Request) { r.Method = "DELETE" })
	if p := problem(t, w); w.Code != 405 || p.Code != httpapi.CodeMethod || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("%d %s, Allow %q, want 405, %s and GET, HEAD", w.Code, p.Code, w.Header().Get("Allow"), httpapi.CodeMethod)
	}
}

func TestPathValuesReachTheHandler(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /things/{id}", func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.PathValue("id")) })
	if w := get(t, httpapi.Handler(mux, loopback(), tokens{}, silent()), "/things/7"); w.Body.String() != "7" {
		t.Errorf("got %q, want 7", w.Body)
	}
}

func TestRequestIDs(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, httpapi.RequestID(r.Context())) })
	h := httpapi.Handler(mux, loopback(), tokens{}, silent())
	for id, kept := range map[string]bool{
		"abc-123": true, strings.Repeat("a", 128): true,
		"": false, "a b": false, "a\"b": false, "a\x00b": false, "é": false, strings.Repeat("a", 129): false,
	} {
		w := get(t, h, "/", func(r *http.Request) { r.Header[httpapi.RequestIDField] = []string{id} })
		got := w.Header().Get(httpapi.RequestIDField)
		if got == "" || got != w.Body.String() || (got == id) != kept {
			t.Errorf("id %.20q: answered %q, in the context %q, want kept = %v", id, got, w.Body, kept)
		}
	}
}

func TestPanicEndsWithItsRequest(t *testing.T) {
	var logged bytes.Buffer
	mux := http.NewServeMux()
	mux.HandleFunc("/early", func(http.ResponseWriter, *http.Request) { panic("secret reason") })
	mux.HandleFunc("/late", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "half"); panic("late") })
	h := httpapi.Handler(mux, loopback(), tokens{}, slog.New(slog.NewTextHandler(&logged, nil)))
	w := get(t, h, "/early")
	if p := problem(t, w); w.Code != 500 || p.Code != mesh.CodeInternal || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(logged.String(), "secret reason") {
		t.Error("the panic is not in the log")
	}
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
			t.Errorf("a half answer ends with %v, want the connection cut", err)
		}
	}()
	get(t, h, "/late")
}

func TestErrorsBecomeProblems(t *testing.T) {
	withFields := &mesh.Error{Kind: mesh.ErrInvalid, Code: "TOSKA-X", Detail: "no good", Cause: errors.New("secret"),
		Fields: []mesh.FieldError{{Field: "a", Problem: "bad"}}}
	tests := []struct {
		name   string
		err    error
		status int
		want   httpapi.Problem
	}{
		{"a mesh error in wrapping", fmt.Errorf("register x: %w", withFields), 422,
			httpapi.Problem{Code: "TOSKA-X", Detail: "no good", Errors: []httpapi.FieldProblem{{Field: "a", Problem: "bad"}}}},
		{"a bare kind", fmt.Errorf("get x: %w", mesh.ErrNotFound), 404, httpapi.Problem{Code: mesh.CodeNotFound, Detail: "get x: not found"}},
		{"stale", mesh.ErrStale, 409, httpapi.Problem{Code: mesh.CodeStale, Detail: "stale incarnation"}},
		{"conflict", mesh.ErrConflict, 409, httpapi.Problem{Code: mesh.CodeConflict, Detail: "conflict"}},
		{"too large", mesh.ErrTooLarge, 413, httpapi.Problem{Code: mesh.CodeTooLarge, Detail: "too large"}},
		{"unauthenticated", mesh.ErrUnauthenticated, 401, httpapi.Problem{Code: mesh.CodeUnauthenticated, Detail: "unauthenticated"}},
		{"forbidden", mesh.ErrForbidden, 403, httpapi.Problem{Code: mesh.CodeForbidden, Detail: "forbidden"}},
		{"unavailable", mesh.ErrUnavailable, 503, httpapi.Problem{Code: mesh.CodeUnavailable, Detail: "unavailable"}},
		{"a deadline", context.DeadlineExceeded, 503, httpapi.Problem{Code: mesh.CodeUnavailable, Detail: "context deadline exceeded"}},
		{"anything else stays inside", errors.New("secret"), 500, httpapi.Problem{Code: mesh.CodeInternal,
			Detail: "the node met an error of its own; its log has the rest under the request id"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			httpapi.WriteProblem(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), tt.err)
			got := problem(t, w)
			tt.want.Status, tt.want.Title = tt.status, http.StatusText(tt.status)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Errorf("the cause is shown: %s", w.Body)
			}
		})
	}
}

func TestErrorsSurviveTheRPC(t *testing.T) {
	kinds := []error{mesh.ErrInvalid, mesh.ErrNotFound, mesh.ErrConflict, mesh.ErrStale, mesh.ErrUnauthenticated,
		mesh.ErrForbidden, mesh.ErrUnavailable, mesh.ErrTooLarge}
	for _, kind := range kinds {
		in := &mesh.Error{Kind: kind, Code: "TOSKA-X-Y", Detail: "why", Fields: []mesh.FieldError{{Field: "f", Problem: "p"}}}
		var out *mesh.Error
		if err := httpapi.FromRPC("op", httpapi.RPCError(in)); !errors.As(err, &out) || !errors.Is(err, kind) ||
			out.Code != in.Code || out.Detail != in.Detail || !cmp.Equal(out.Fields, in.Fields) {
			t.Errorf("%v became %#v", kind, out)
		}
		if err := httpapi.FromRPCProblem(httpapi.RPCProblem(in)); !errors.Is(err, kind) {
			t.Errorf("%v became %v as a message", kind, err)
		}
		for _, other := range kinds {
			if err := httpapi.FromRPC("op", httpapi.RPCError(in)); !errors.Is(other, kind) && errors.Is(err, other) {
				t.Errorf("%v is also %v", kind, other)
			}
		}
	}
	if err := httpapi.FromRPC("op", httpapi.RPCError(errors.New("secret"))); strings.Contains(err.Error(), "secret") || mesh.CodeOf(err) != mesh.CodeInternal {
		t.Errorf("an error without a kind became %v (%s)", err, mesh.CodeOf(err))
	}
	if err := httpapi.FromRPC("call n", connect.NewError(connect.CodeAlreadyExists, errors.New("taken"))); !errors.Is(err, mesh.ErrConflict) {
		t.Errorf("another server's already exists became %v, want conflict", err)
	}
	cut := httpapi.FromRPC("watch at n", connect.NewError(connect.CodeInternal, fmt.Errorf("protocol error: incomplete envelope: %w", io.ErrUnexpectedEOF)))
	if !errors.Is(cut, mesh.ErrUnavailable) || cut.Error() != "watch at n: the node ended the connection" {
		t.Errorf("a stream that is cut in a message is %v", cut)
	}
	if httpapi.FromRPC("op", nil) != nil || httpapi.RPCError(nil) != nil || httpapi.FromRPCProblem(nil) != nil {
		t.Error("nil is not nil")
	}
}
