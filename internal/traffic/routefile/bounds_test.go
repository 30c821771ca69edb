package routefile_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
)

func TestBoundsOfClientsAreReadWhereTheyAreSaid(t *testing.T) {
	f := read(t, "bounds.yaml")
	if f.Limits != (routefile.Limits{}) {
		t.Errorf("limits = %+v: the bounds of bodies are no limits of heads", f.Limits)
	}
	got := []route.Policy{f.Set.Defaults, f.Set.Services[0].Policy, f.Set.Routes[0].Policy}
	want := []route.Policy{{Body: 10 << 20, Rate: -1, Ceiling: 10 * time.Minute}, {Body: 2 << 30, Ceiling: -1}, {Body: -1, Rate: 1 << 10}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
}
