package familyapi_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/wire/familyapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// probed is fake: a mesh of one instance, whose probe ends as it is told.
type probed struct {
	mesh.Discovery
	status mesh.ProbeStatus
	err    error
}

func (p probed) Probes(context.Context, string) ([]mesh.ProbeStatus, error) { return nil, p.err }

func (p probed) ProbeNow(context.Context, string) (mesh.ProbeStatus, error) { return p.status, p.err }

func (p probed) Instance(_ context.Context, id string) (mesh.Instance, error) {
	return mesh.Instance{ID: id, Service: "Orders", Address: "10.0.0.7", Port: 80, Health: mesh.Failing}, nil
}

func TestACheckIsMadeWhenItIsAskedFor(t *testing.T) {
	for _, tt := range []struct {
		name    string
		probed  probed
		status  int
		message string
	}{
		{"that passes", probed{status: mesh.ProbeStatus{OK: true, Output: "200 OK"}}, 200, "The check passed: 200 OK"},
		{"that fails", probed{status: mesh.ProbeStatus{Output: "503 Service Unavailable"}}, 200, "The check failed: 503 Service Unavailable"},
		{"of an instance without one", probed{err: &mesh.Error{Kind: mesh.ErrInvalid, Detail: "no check"}}, 200, "The instance has no check and was not probed"},
		{"of an instance that is not there", probed{err: &mesh.Error{Kind: mesh.ErrNotFound, Detail: "gone"}}, 404, "gone"},
		{"while nothing is probed", probed{err: &mesh.Error{Kind: mesh.ErrUnavailable, Detail: "later"}}, 503, "later"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mux := http.NewServeMux()
			familyapi.Mount(mux, tt.probed, familyapi.Options{Probing: tt.probed})
			r := httptest.NewRequestWithContext(t.Context(), "POST", "/api/ServiceRegistration/Health/Check/o-1", nil)
			r.Host = "127.0.0.1:8080"
			w := httptest.NewRecorder()
			httpapi.Handler(mux, loopback(), tokens{}, slog.New(slog.DiscardHandler)).ServeHTTP(w, r)
			e := decode[envelopeDoc](t, w.Body.String())
			if w.Code != tt.status || e.Success != (tt.status == 200) || e.Message == nil || *e.Message != tt.message {
				t.Fatalf("%d %s, want %d with %q", w.Code, w.Body, tt.status, tt.message)
			}
			if tt.status == 200 {
				if i := decode[instanceDoc](t, string(e.Data)); i.ServiceID != "o-1" || i.Status != 2 {
					t.Errorf("data is %s", e.Data)
				}
			}
		})
	}
}
