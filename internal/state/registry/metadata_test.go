package registry_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestMetadataIsMergedAndSurvivesARestart(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		reg := web("web-1")
		reg.Metadata = map[string]string{"zone": "a", "weight": "1"}
		was := register(t, r, reg)
		if err := r.SetMetadata(service(t), mesh.Ref{ID: "web-1"}, map[string]string{"weight": "5", "team": "x"}); err != nil {
			t.Fatal(err)
		}
		check := func(r *running, when string) {
			t.Helper()
			got, err := r.Instance(t.Context(), "web-1")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]string{"zone": "a", "weight": "5", "team": "x"}, got.Metadata); diff != "" {
				t.Errorf("metadata %s (-want +got):\n%s", when, diff)
			}
			if !was.Revision.Before(got.Revision) || got.Incarnation != was.Incarnation {
				t.Errorf("%s: revision %s after %s, incarnation %d after %d", when, got.Revision, was.Revision, got.Incarnation, was.Incarnation)
			}
		}
		check(r, "at once")
		r.stop()
		again, err := registry.New(registry.Config{NodeID: node}, r.store)
		if err != nil {
			t.Fatal(err)
		}
		check(run(t, again, r.store), "after a restart")
	})
}

func TestMetadataThatChangesNothingWritesNothing(t *testing.T) {
	r := start(t, memory.NewStore())
	reg := web("web-1")
	reg.Metadata = map[string]string{"zone": "a"}
	was := register(t, r, reg)
	if err := r.SetMetadata(service(t), mesh.Ref{ID: "web-1"}, map[string]string{"zone": "a"}); err != nil {
		t.Fatal(err)
	}
	if got := r.Stats().Revision; got != was.Revision {
		t.Errorf("revision %s, want %s still", got, was.Revision)
	}
}

func TestWhichChangesOfMetadataAreRefused(t *testing.T) {
	r := start(t, memory.NewStore())
	reg := web("web-1")
	reg.Metadata = map[string]string{"big": strings.Repeat("x", registry.MaxMetadataBytes-100)}
	was := register(t, r, reg)
	tests := []struct {
		name string
		role identity.Role
		ref  mesh.Ref
		set  map[string]string
		want error
	}{
		{"no keys", identity.Service, mesh.Ref{ID: "web-1"}, nil, mesh.ErrInvalid},
		{"an empty key", identity.Service, mesh.Ref{ID: "web-1"}, map[string]string{"": "x"}, mesh.ErrInvalid},
		{"too much together with what is there", identity.Service, mesh.Ref{ID: "web-1"},
			map[string]string{"more": strings.Repeat("x", 200)}, mesh.ErrInvalid},
		{"an unknown instance", identity.Service, mesh.Ref{ID: "web-2"}, map[string]string{"a": "b"}, mesh.ErrNotFound},
		{"another incarnation", identity.Service, mesh.Ref{ID: "web-1", Incarnation: was.Incarnation + 1},
			map[string]string{"a": "b"}, mesh.ErrStale},
		{"another's instance", identity.Anonymous, mesh.Ref{ID: "web-1"}, map[string]string{"a": "b"}, mesh.ErrForbidden},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := r.SetMetadata(as(t, tt.role, "10.0.0.9"), tt.ref, tt.set); !errors.Is(err, tt.want) {
				t.Errorf("SetMetadata = %v, want %v", err, tt.want)
			}
			if got, _ := r.Instance(t.Context(), "web-1"); got.Revision != was.Revision {
				t.Error("a refused change was written")
			}
		})
	}
}
