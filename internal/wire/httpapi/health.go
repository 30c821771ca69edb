package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// The words of a check's status, as probes and dashboards of the family expect them.
const (
	healthy   = "Healthy"
	degraded  = "Degraded"
	unhealthy = "Unhealthy"
)

// healthBody is the whole account.
type healthBody struct {
	Status string `json:"status"`
	// Duration is how long the checks took, in milliseconds.
	Duration float64       `json:"duration"`
	Checks   []healthCheck `json:"checks"`
}

type healthCheck struct {
	Name        string         `json:"name"`
	Status      string         `json:"status"`
	Duration    float64        `json:"duration"`
	Description string         `json:"description,omitempty"`
	Exception   string         `json:"exception,omitempty"`
	Data        map[string]any `json:"data"`
}

// healthScope selects what an endpoint asks for.
type healthScope struct {
	// ready asks whether the node can do its work, all also for conditions that degrade it. Without
	// either only life is asked for.
	ready, all bool
	// brief leaves the checks out unless the query asks for them with verbose.
	brief bool
}

// MountHealth adds /health, /health/live, /health/ready, /livez and /readyz, open to every caller; one
// that may not read is told the status alone.
// Their answer is 200, or 503 when the node is not well. live reports whether the process can go on;
// nil means that it can as long as it answers. On a listener named ListenerGateway they speak of the
// gateway alone, and say only their status.
func MountHealth(mux *http.ServeMux, node mesh.Node, live func() error) {
	scopes := map[string]healthScope{
		"/health":       {ready: true, all: true},
		"/health/live":  {},
		"/health/ready": {ready: true},
		"/livez":        {brief: true},
		"/readyz":       {ready: true, brief: true},
	}
	for path, scope := range scopes {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			body := checkHealth(r.Context(), node, live, scope)
			if scope.brief && !r.URL.Query().Has("verbose") {
				body.Checks = []healthCheck{}
			}
			writeHealth(w, r, body)
		})
	}
}

func writeHealth(w http.ResponseWriter, r *http.Request, body healthBody) {
	var v any = body
	if ListenerFromContext(r.Context()).Name == ListenerGateway || MayRead(r.Context()) != nil {
		v = struct {
			Status string `json:"status"`
		}{body.Status}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if body.Status == unhealthy {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	// The client is gone if this fails.
	_ = json.NewEncoder(w).Encode(v)
}

func checkHealth(ctx context.Context, node mesh.Node, live func() error, scope healthScope) healthBody {
	start := time.Now()
	body := healthBody{Checks: []healthCheck{selfCheck(live)}}
	if scope.ready {
		body.Checks = append(body.Checks, nodeChecks(ctx, node, scope)...)
	}
	body.Status = healthy
	for _, c := range body.Checks {
		if c.Status == unhealthy || body.Status == healthy {
			body.Status = c.Status
		}
	}
	body.Duration = float64(time.Since(start).Microseconds()) / 1000
	return body
}

func selfCheck(live func() error) healthCheck {
	c := healthCheck{Name: "self", Status: healthy, Data: map[string]any{}}
	if live == nil {
		return c
	}
	if err := live(); err != nil {
		c.Status, c.Exception = unhealthy, err.Error()
	}
	return c
}

func nodeChecks(ctx context.Context, node mesh.Node, scope healthScope) []healthCheck {
	st, err := node.Status(ctx)
	if err != nil {
		return []healthCheck{{Name: "node", Status: unhealthy, Exception: err.Error(), Data: map[string]any{}}}
	}
	only := ""
	if ListenerFromContext(ctx).Name == ListenerGateway {
		only = ListenerGateway
	}
	var checks []healthCheck
	for _, role := range st.Roles {
		if only == "" || role.Name == only {
			checks = append(checks, roleCheck(role))
		}
	}
	// A node that stops is not ready while all of its roles still are.
	if !st.Ready && (only == "" || len(checks) == 0) {
		checks = append(checks, healthCheck{Name: "node", Status: unhealthy, Description: "not ready",
			Data: map[string]any{}})
	}
	if !scope.all || only != "" {
		return checks
	}
	if st.Registry.Stale {
		checks = append(checks, healthCheck{Name: "store", Status: degraded,
			Description: "the store cannot be reached; reads come from the last snapshot",
			Data:        map[string]any{"revision": st.Registry.Revision.String()}})
	}
	for _, a := range st.Alarms {
		checks = append(checks, healthCheck{Name: a.Code, Status: degraded, Description: a.Detail,
			Data: map[string]any{}})
	}
	return checks
}

func roleCheck(role mesh.RoleStatus) healthCheck {
	c := healthCheck{Name: role.Name, Status: healthy, Description: role.State,
		Data: map[string]any{"since": role.Since, "restarts": role.Restarts}}
	if role.State != "ready" {
		c.Status, c.Exception = unhealthy, role.Reason
	}
	return c
}
