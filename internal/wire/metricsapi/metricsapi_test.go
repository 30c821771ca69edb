package metricsapi_test

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/toska-mesh/toska-mesh/internal/signal/series"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/metricsapi"
)

// tokens knows a token for each role, of the same name.
type tokens struct{}

func (tokens) Verify(token string) (identity.Role, bool) {
	switch token {
	case "service":
		return identity.Service, true
	case "admin":
		return identity.Admin, true
	}
	return identity.Anonymous, false
}

func ask(t *testing.T, loopback bool, path, token string, g prometheus.Gatherer, log *slog.Logger) *httptest.ResponseRecorder {
	t.Helper()
	mux := http.NewServeMux()
	metricsapi.Mount(mux, g, false, log)
	metricsapi.MountProfiles(mux)
	h := httpapi.Handler(mux, httpapi.Listener{Name: httpapi.ListenerControl, Loopback: loopback}, tokens{}, log)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1"+path, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestSeriesAreForReadersAndProfilesForTheAdmin(t *testing.T) {
	set := series.New(series.Config{Version: "1.2.3"})
	for _, tt := range []struct {
		name     string
		loopback bool
		path     string
		token    string
		status   int
		body     string
	}{
		{"anyone on loopback reads series", true, "/metrics", "", 200, `toska_build_info{`},
		{"nobody without a token elsewhere", false, "/metrics", "", 401, "TOSKA-AUTH-REQUIRED"},
		{"a service reads series", false, "/metrics", "service", 200, "go_goroutines{"},
		{"profiles need a token on loopback too", true, "/debug/pprof/", "", 401, "TOSKA-AUTH-REQUIRED"},
		{"a service has no profiles", true, "/debug/pprof/heap", "service", 403, "TOSKA-AUTH-FORBIDDEN"},
		{"a service has no command line", true, "/debug/pprof/cmdline", "service", 403, "TOSKA-AUTH-FORBIDDEN"},
		{"the admin has the list", false, "/debug/pprof/", "admin", 200, "goroutine"},
		{"the admin has a profile", false, "/debug/pprof/goroutine?debug=1", "admin", 200, "goroutine profile"},
		{"a profile that there is not", true, "/debug/pprof/nothing", "admin", 404, "Unknown profile"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := ask(t, tt.loopback, tt.path, tt.token, set.Gatherer(), slog.New(slog.DiscardHandler))
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.body) {
				t.Errorf("%d %.300s, want %d with %q", w.Code, w.Body, tt.status, tt.body)
			}
		})
	}
}

// broken has a series that cannot be gathered.
type broken struct{}

func (broken) Describe(chan<- *prometheus.Desc) {}

func (broken) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(prometheus.NewDesc("broken", "", nil, nil), errors.New("made to fail"))
}

func TestABrokenSeriesIsLeftOutAndLogged(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(broken{})
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "whole"}, func() float64 { return 3 }))
	var logged strings.Builder
	w := ask(t, true, metricsapi.Path, "", reg, slog.New(slog.NewTextHandler(&logged, nil)))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "whole 3") {
		t.Errorf("%d %s, want the series that is whole", w.Code, w.Body)
	}
	if !strings.Contains(logged.String(), "made to fail") {
		t.Errorf("the log has %q", logged.String())
	}
}
