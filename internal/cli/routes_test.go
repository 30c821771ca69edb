package cli_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/mesh"
)

func (c *client) Routes(context.Context) ([]mesh.RouteStatus, error) { return c.routes, c.err }

func someRoutes() []mesh.RouteStatus {
	return []mesh.RouteStatus{
		{Name: "orders", Kind: mesh.RouteConfigured, Hosts: []string{"a.example", "b.example"}, Path: "/orders/…", Prefix: "/orders",
			Methods: []string{"GET"}, Service: "orders", ReplacePrefix: "/o", UpstreamHost: "keep", EncodedSlash: true,
			Timeouts: mesh.RouteTimeouts{Connect: 2 * time.Second, PerTry: 500 * time.Millisecond},
			Retry:    mesh.RouteRetry{Attempts: 2, Budget: 0.2}, Origin: "mesh.yaml:3:5", State: mesh.RouteInForce},
		{Name: "-", Kind: mesh.RouteInternal, Path: "/health", Exact: "/health", State: mesh.RouteInForce},
		{Name: "-", Kind: mesh.RoutePrefix, Path: "/api/{service}/…", Prefix: "/api/", State: mesh.RouteInForce, Warning: "odd"},
		{Name: "bad", Kind: mesh.RouteConfigured, Path: "/…", Origin: "mesh.yaml:9:5", State: mesh.RouteQuarantined, Reason: "has\tno to"},
	}
}

func TestRoutesPrintsLinesForPrograms(t *testing.T) {
	w := newWorld()
	w.client.routes = someRoutes()
	w.expect(t, w.run(t.Context(), "routes"), 0)
	want := "orders\ta.example,b.example\t/orders/…\tGET\torders\tin force\tmesh.yaml:3:5\t-\troute\n" +
		"-\t-\t/health\t-\t-\tin force\t-\t-\tinternal\n" +
		"-\t-\t/api/{service}/…\t-\t-\tin force\t-\todd\tprefix\n" +
		"bad\t-\t/…\t-\t-\tquarantined\tmesh.yaml:9:5\thas?no to\troute\n"
	if diff := cmp.Diff(want, w.stdout.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

func TestRoutesPrintsJSON(t *testing.T) {
	w := newWorld()
	w.client.routes = append(someRoutes()[:1], someRoutes()[3])
	w.expect(t, w.run(t.Context(), "routes", "--json"), 0)
	var got map[string]any
	if err := json.Unmarshal([]byte(w.stdout.String()), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"routes": []any{map[string]any{"name": "orders", "kind": "route", "hosts": []any{"a.example", "b.example"},
		"path": "/orders/…", "prefix": "/orders", "methods": []any{"GET"}, "service": "orders", "rewrite": map[string]any{"replacePrefix": "/o"},
		"upstreamHost": "keep", "encodedSlash": true, "retry": map[string]any{"attempts": 2.0, "budget": 0.2, "allMethods": false},
		"timeouts": map[string]any{"connectSeconds": 2.0, "perTrySeconds": 0.5, "idleSeconds": 0.0, "totalSeconds": 0.0},
		"origin":   "mesh.yaml:3:5", "state": "in force"},
		map[string]any{"name": "bad", "kind": "route", "hosts": []any{}, "path": "/…", "methods": []any{}, "service": "",
			"origin": "mesh.yaml:9:5", "state": "quarantined", "reason": "has\tno to"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	none := newWorld()
	none.expect(t, none.run(t.Context(), "routes", "--json"), 0, `"routes": []`)
}

func TestRoutesOfANodeThatDoesNotAnswer(t *testing.T) {
	w := newWorld()
	w.client.err = mesh.ErrUnavailable
	w.expect(t, w.run(t.Context(), "routes"), 4, "to do: ")
}
