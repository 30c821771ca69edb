package dashboardapi_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/wire/dashboardapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// probing is fake: it tells of what it has, all of it whatever is asked for.
type probing struct {
	probes []mesh.ProbeStatus
	err    error
}

func (p *probing) Probes(context.Context, string) ([]mesh.ProbeStatus, error) { return p.probes, p.err }

func (p *probing) ProbeNow(context.Context, string) (mesh.ProbeStatus, error) {
	panic("nothing is probed for a dashboard")
}

func TestTheStatusTellsOfTheLastProbe(t *testing.T) {
	p := &probing{}
	n := start(t, loopback(), dashboardapi.Options{Probing: p})
	fill(t, n)
	incarnation := func(id string) uint64 {
		i, err := n.registry.Instance(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return i.Incarnation
	}
	at := time.Date(1990, 1, 2, 3, 4, 5, 678, time.UTC)
	p.probes = []mesh.ProbeStatus{
		{ID: "s-1", Incarnation: incarnation("s-1"), At: at, OK: true, Output: "200 OK", Check: mesh.Check{HTTP: "/health"}},
		{ID: "s-2", Incarnation: incarnation("s-2"), At: at, Output: "connection refused"},
		{ID: "w-1", Incarnation: incarnation("w-1") - 1, At: at, Output: "of another incarnation"},
	}
	const told = `"lastProbe":"1990-01-02T03:04:05.0000006Z","lastProbeType":`
	probed := func(was, kind, message string) string {
		was = strings.Replace(was, `"lastProbe":"0001-01-01T00:00:00Z","lastProbeType":"registry"`, told+`"`+kind+`"`, 1)
		return strings.NewReplacer(`"message":null`, `"message":"`+message+`"`, `"message":"disk full"`, `"message":"`+message+`"`).Replace(was)
	}
	want := "[" + probed(shop1, "http", "200 OK") + "," + probed(shop2, "tcp", "connection refused") + "," + web1 + "]"
	for _, path := range []string{"/api/dashboard/health", "/api/Status"} {
		if _, _, body := n.do(t, "GET", path); body != want {
			t.Errorf("GET %s (-want +got):\n%s", path, cmp.Diff(want, body))
		}
	}
	if _, _, body := n.do(t, "GET", "/api/dashboard/services"); strings.Count(body, told) != 2 {
		t.Errorf("the catalog tells of other probes: %s", body)
	}
	p.probes[0].At = time.Time{}
	if _, _, body := n.do(t, "GET", "/api/Status/shop"); strings.Count(body, told) != 1 {
		t.Errorf("a probe before its first: %s", body)
	}
	p.probes, p.err = nil, mesh.ErrUnavailable
	if _, _, body := n.do(t, "GET", "/api/Status/shop"); body != "["+shop1+","+shop2+"]" {
		t.Errorf("while nothing is probed: %s", body)
	}
}
