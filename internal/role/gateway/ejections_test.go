package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/signal/series"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// find returns the first line with a message.
func find(t *testing.T, log *buffer, msg string) map[string]any {
	t.Helper()
	for _, line := range log.lines(t) {
		if line["msg"] == msg {
			return line
		}
	}
	return nil
}

func TestAnEndpointThatGoesOutAndComesBackIsLogged(t *testing.T) {
	r := newRig(t, nil)
	var unwell []*mesh.Instance
	for i := range 3 {
		b := newBackend(t, "b")
		if i == 0 {
			// It asks to be left alone for a second, which is the shortest time out.
			b.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusServiceUnavailable)
			})
		}
		unwell = append(unwell, b.instance(fmt.Sprintf("tri-%d", i), "Tri"))
	}
	r.d.set(snapshot(1, unwell...), nil)
	r.waitReady()
	waitFor(t, "the ejection in the log", func() bool {
		r.get("/api/tri/x")
		return find(t, &r.said, "endpoint ejected") != nil
	})
	line := find(t, &r.said, "endpoint ejected")
	if line["level"] != "WARN" || line["service"] != "Tri" || line["instance"] != "tri-0" || line["endpoint"] != unwell[0].HostPort() ||
		!strings.Contains(fmt.Sprint(line["reason"]), "Retry-After") || line["until"] == nil {
		t.Errorf("logged %v", line)
	}
	st := r.g.UpstreamStatus("tri")
	if len(st) != 1 || st[0].Ejections != 1 || st[0].Endpoints[0].Picked || st[0].Endpoints[0].EjectedUntil.IsZero() || st[0].Retries == 0 {
		t.Errorf("status %+v", st)
	}
	var counted []series.Upstream
	r.g.UpstreamSeries(func(u series.Upstream) { counted = append(counted, u) })
	if len(counted) != 1 || counted[0].Service != "Tri" || counted[0].Ejections != 1 || counted[0].Ejected != 1 {
		t.Errorf("counted %+v", counted)
	}
	waitFor(t, "the return in the log", func() bool { return find(t, &r.said, "endpoint back") != nil })
	if line := find(t, &r.said, "endpoint back"); line["level"] != "INFO" || line["service"] != "Tri" || line["instance"] != "tri-0" {
		t.Errorf("logged %v", line)
	}
}

func TestAWrongEntryOfAServiceChangesNothing(t *testing.T) {
	r := newRig(t, nil)
	good, other := newBackend(t, "good"), newBackend(t, "other")
	routes := []route.Spec{{Name: "all", Service: "web"}}
	wrong := func() *route.Set {
		return &route.Set{Routes: routes, Quarantined: []route.Refusal{{Kind: route.KindService, Name: "web", Reason: "unknown key"}}}
	}
	r.g.Configure(wrong())
	r.d.set(snapshot(1, other.instance("o", "web")), nil)
	r.waitReady()
	if status, body := r.get("/x"); status != 503 || !strings.Contains(body, "TOSKA-ROUTE-QUARANTINED") {
		t.Errorf("at the start: %d %s", status, body)
	}
	r.g.Configure(&route.Set{Routes: routes, Services: []route.ServiceSpec{{Name: "web", Endpoints: []string{good.addr}}}})
	for _, name := range []string{"with a good entry", "with a wrong one after it", "with another wrong one"} {
		if status, body := r.get("/x"); status != 200 || body != "good/x" {
			t.Errorf("%s: %d %s", name, status, body)
		}
		r.g.Configure(wrong())
	}
	r.g.Configure(&route.Set{Routes: routes})
	if status, body := r.get("/x"); status != 200 || body != "other/x" {
		t.Errorf("without an entry: %d %s", status, body)
	}
	n := 0
	for _, line := range r.said.lines(t) {
		if strings.Contains(fmt.Sprint(line["problem"]), "shadows the prefix /api/") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the log says %d times that the route shadows the prefix, want once", n)
	}
}
