package routefile_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
)

func TestUpgradesAndDrain(t *testing.T) {
	f := read(t, "upgrades.yaml")
	for _, row := range []struct {
		name string
		got  route.Policy
		want route.Policy
	}{
		{"defaults", f.Set.Defaults, route.Policy{Upgrades: route.UpgradesNone, Drain: 5 * time.Minute, Tunnel: time.Hour}},
		{"the service", f.Set.Services[0].Policy, route.Policy{Upgrades: route.UpgradesWebSocket, Drain: -1}},
		{"a route that takes them", f.Set.Routes[0].Policy, route.Policy{Upgrades: route.UpgradesWebSocket, Drain: 30 * time.Second, Tunnel: -1}},
		{"a route that takes none", f.Set.Routes[1].Policy, route.Policy{Upgrades: route.UpgradesNone}},
	} {
		if diff := cmp.Diff(row.want, row.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.name, diff)
		}
	}
}
