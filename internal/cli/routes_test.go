package cli_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/mesh"
)

func (c *client) Routes(context.Context) ([]mesh.RouteStatus, error) { return c.routes, c.err }

func someRoutes() []mesh.RouteStatus {
	return []mesh.RouteStatus{
		{Name: "orders", Hosts: []string{"a.example", "b.example"}, Path: "/orders/…", Methods: []string{"GET"}, Service: "orders",
			Origin: "mesh.yaml:3:5", State: mesh.RouteInForce},
		{Name: "bad", Path: "/…", Origin: "mesh.yaml:9:5", State: mesh.RouteQuarantined, Reason: "has\tno to"},
	}
}

func TestRoutesPrintsLinesForPrograms(t *testing.T) {
	w := newWorld()
	w.client.routes = someRoutes()
	w.expect(t, w.run(t.Context(), "routes"), 0)
	want := "orders\ta.example,b.example\t/orders/…\tGET\torders\tin force\tmesh.yaml:3:5\t-\n" +
		"bad\t-\t/…\t-\t-\tquarantined\tmesh.yaml:9:5\thas?no to\n"
	if diff := cmp.Diff(want, w.stdout.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

func TestRoutesPrintsJSON(t *testing.T) {
	w := newWorld()
	w.client.routes = someRoutes()[1:]
	w.expect(t, w.run(t.Context(), "routes", "--json"), 0)
	var got map[string]any
	if err := json.Unmarshal([]byte(w.stdout.String()), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"routes": []any{map[string]any{"name": "bad", "hosts": []any{}, "path": "/…", "methods": []any{}, "service": "",
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
