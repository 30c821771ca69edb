package httpapi_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

type healthDoc struct {
	Status   string
	Duration *float64
	Checks   []struct{ Name, Status string }
}

func TestHealth(t *testing.T) {
	ready := mesh.Status{Ready: true, Roles: []mesh.RoleStatus{{Name: "discovery", State: "ready"}, {Name: "gateway", State: "ready"}}}
	alarmed := ready
	alarmed.Alarms = []mesh.Alarm{{Code: mesh.CodeStoreFull, Detail: "the disk is full"}}
	stale := ready
	stale.Registry.Stale = true
	restarting := mesh.Status{Roles: []mesh.RoleStatus{{Name: "discovery", State: "restarting", Reason: "panic"}, {Name: "gateway", State: "ready"}}}
	stopping := ready
	stopping.Ready = false
	dead := func() error { return errors.New("stuck") }
	type answers map[string]int
	tests := []struct {
		name   string
		node   mesh.Node
		live   func() error
		want   answers
		health string
	}{
		{"ready", fixed{status: ready}, nil, answers{"/health": 200, "/health/live": 200, "/health/ready": 200, "/livez": 200, "/readyz": 200}, "Healthy"},
		{"an alarm degrades", fixed{status: alarmed}, nil, answers{"/health": 200, "/health/live": 200, "/health/ready": 200, "/livez": 200, "/readyz": 200}, "Degraded"},
		{"a stale registry degrades", fixed{status: stale}, nil, answers{"/health": 200, "/health/ready": 200, "/readyz": 200}, "Degraded"},
		{"a role that restarts", fixed{status: restarting}, nil, answers{"/health": 503, "/health/live": 200, "/health/ready": 503, "/livez": 200, "/readyz": 503}, "Unhealthy"},
		{"a node that stops", fixed{status: stopping}, nil, answers{"/health": 503, "/health/live": 200, "/health/ready": 503, "/readyz": 503}, "Unhealthy"},
		{"no status", fixed{err: errors.New("no")}, nil, answers{"/health": 503, "/health/live": 200, "/readyz": 503}, "Unhealthy"},
		{"not alive", fixed{status: ready}, dead, answers{"/health": 503, "/health/live": 503, "/livez": 503, "/readyz": 503}, "Unhealthy"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mux := http.NewServeMux()
			httpapi.MountHealth(mux, tt.node, tt.live)
			h := httpapi.Handler(mux, loopback(), tokens{}, silent())
			// Probes have no token, from other machines as well: they are told the status alone.
			open := httpapi.Handler(mux, httpapi.Listener{Name: httpapi.ListenerControl}, tokens{}, silent())
			for path, want := range tt.want {
				w := get(t, h, path)
				if w.Code != want {
					t.Errorf("%s: %d, want %d: %s", path, w.Code, want, w.Body)
				}
				if w := get(t, open, path); w.Code != want || strings.Contains(w.Body.String(), "checks") {
					t.Errorf("%s for a stranger: %d %s, want %d and no checks", path, w.Code, w.Body, want)
				}
				var doc healthDoc
				if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.Checks == nil || doc.Duration == nil {
					t.Errorf("%s: %v in %s", path, err, w.Body)
				}
				if path == "/health" && doc.Status != tt.health {
					t.Errorf("/health is %s, want %s", doc.Status, tt.health)
				}
			}
		})
	}
}

func TestReadyzTellsOfRolesWhenAsked(t *testing.T) {
	mux := http.NewServeMux()
	httpapi.MountHealth(mux, fixed{status: mesh.Status{Ready: true, Roles: []mesh.RoleStatus{{Name: "discovery", State: "ready"}}}}, nil)
	h := httpapi.Handler(mux, loopback(), tokens{}, silent())
	for path, want := range map[string][]string{"/readyz": nil, "/readyz?verbose": {"self", "discovery"}} {
		var doc healthDoc
		if err := json.Unmarshal(get(t, h, path).Body.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range doc.Checks {
			got = append(got, c.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestHealthOnTheGatewaysPortIsTheGatewaysAloneAndBrief(t *testing.T) {
	st := mesh.Status{Roles: []mesh.RoleStatus{{Name: "discovery", State: "failed"}, {Name: "gateway", State: "ready"}}}
	for state, want := range map[string]struct {
		code int
		body string
	}{"ready": {200, `{"status":"Healthy"}`}, "starting": {503, `{"status":"Unhealthy"}`}} {
		st.Roles[1].State = state
		mux := http.NewServeMux()
		httpapi.MountHealth(mux, fixed{status: st}, nil)
		h := httpapi.Handler(mux, httpapi.Listener{Name: httpapi.ListenerGateway}, tokens{}, silent())
		for _, path := range []string{"/readyz?verbose", "/health"} {
			if w := get(t, h, path); w.Code != want.code || w.Body.String() != want.body+"\n" {
				t.Errorf("gateway %s, %s: %d %s, want %d %s", state, path, w.Code, w.Body, want.code, want.body)
			}
		}
	}
}
