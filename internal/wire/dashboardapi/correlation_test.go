package dashboardapi_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/signal/logattr"
	"github.com/toska-mesh/toska-mesh/internal/wire/dashboardapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// failing is a registry that fails by a fault of its own.
type failing struct{ mesh.Discovery }

func (failing) Snapshot(context.Context) (*mesh.Snapshot, error) { return nil, errors.New("secret") }

func TestACorrelationIDIsOnTheLinesOfTheLog(t *testing.T) {
	var logged bytes.Buffer
	log := slog.New(logattr.New(slog.NewJSONHandler(&logged, nil), "n1"))
	mux := http.NewServeMux()
	dashboardapi.Mount(mux, failing{}, dashboardapi.Options{Anonymous: true, Log: log})
	h := httpapi.Handler(mux, httpapi.Listener{Name: httpapi.ListenerControl, Loopback: true}, nil, log)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/api/dashboard/services", nil)
	r.Header.Set("X-Correlation-ID", "order-7")
	h.ServeHTTP(httptest.NewRecorder(), r)
	if !strings.Contains(logged.String(), `"correlation_id":"order-7"`) {
		t.Errorf("logged %s, want the correlation id", logged.String())
	}
}
