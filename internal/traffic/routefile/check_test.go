package routefile_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestChecksOfServices(t *testing.T) {
	f := read(t, "checks.yaml")
	want := map[string]mesh.Check{
		"orders": {HTTP: "/healthz?full=1", TLS: true, Port: 9090, Interval: 5 * time.Second, Timeout: 500 * time.Millisecond, Up: 1, Down: 5},
		"db":     {},
	}
	if diff := cmp.Diff(want, f.Checks); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
	if len(f.Set.Services) != 3 {
		t.Errorf("services %+v, want all three", f.Set.Services)
	}
	if f := read(t, "example.yaml"); f.Checks != nil {
		t.Errorf("checks of a file without any: %v", f.Checks)
	}
}
