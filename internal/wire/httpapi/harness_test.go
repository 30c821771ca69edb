package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type tokens struct{}

func (tokens) Verify(t string) (identity.Role, bool) {
	switch t {
	case "admin-token":
		return identity.Admin, true
	case "service-token":
		return identity.Service, true
	}
	return identity.Anonymous, false
}

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

func loopback() httpapi.Listener {
	return httpapi.Listener{Name: httpapi.ListenerControl, Loopback: true, ErrorPages: true, Hosts: []string{"mesh.example"}}
}

// whoami answers with the role and address of the caller.
func whoami(w http.ResponseWriter, r *http.Request) {
	c := identity.FromContext(r.Context())
	_ = json.NewEncoder(w).Encode(map[string]string{"role": c.Role.String(), "addr": c.Addr.String()})
}

func get(t *testing.T, h http.Handler, path string, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	r.Host = "127.0.0.1:5010"
	for _, e := range edit {
		e(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func problem(t *testing.T, w *httptest.ResponseRecorder) httpapi.Problem {
	t.Helper()
	var p httpapi.Problem
	dec := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	if got := w.Header().Get("Content-Type"); got != httpapi.ProblemType {
		t.Errorf("Content-Type %q, want %q", got, httpapi.ProblemType)
	}
	if p.Status != w.Code {
		t.Errorf("the problem says %d, the answer %d", p.Status, w.Code)
	}
	return p
}

// fixed is a node with one status.
type fixed struct {
	status mesh.Status
	err    error
}

func (f fixed) Status(context.Context) (mesh.Status, error) { return f.status, f.err }
