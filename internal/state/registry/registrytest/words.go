package registrytest

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// within runs a registry on the store for as long as do takes, with the context of an insider.
func within(t *testing.T, s registry.Store, do func(ctx context.Context, r *registry.Registry)) {
	t.Helper()
	r, err := registry.New(registry.Config{NodeID: "n"}, s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(identity.NewContext(t.Context(), identity.Caller{Trusted: true}))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- r.Run(ctx, func() { close(ready) }) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	}()
	select {
	case <-ready:
		do(ctx, r)
	case err := <-done:
		done <- err
	}
}

// speak registers an instance and says two words on its health, and returns what is then known of it.
func speak(t *testing.T, s registry.Store) (inst mesh.Instance) {
	t.Helper()
	within(t, s, func(ctx context.Context, r *registry.Registry) {
		_, err := r.Register(ctx, mesh.Registration{ID: "a", Service: "web", Address: "10.0.0.1", Port: 80, Lifetime: mesh.Permanent,
			Check: &mesh.Check{HTTP: "/healthz", TLS: true, Port: 81, Up: 1, Down: 1}})
		if err != nil {
			t.Fatal(err)
		}
		ref := mesh.Ref{ID: "a"}
		if err := r.Report(ctx, ref, mesh.Report{Health: mesh.Degraded, Output: "slow"}); err != nil {
			t.Fatal(err)
		}
		if err := r.Judge(ctx, ref, mesh.Report{Health: mesh.Failing, Output: "503"}); err != nil {
			t.Fatal(err)
		}
		if inst, err = r.Instance(ctx, "a"); err != nil {
			t.Fatal(err)
		}
	})
	if len(inst.Evidence) != 2 || inst.Health != mesh.Failing || inst.HealthBy != mesh.SourceProbe {
		t.Fatalf("it is %s by %q, evidence %+v, want failing by the probe, beside the report", inst.Health, inst.HealthBy, inst.Evidence)
	}
	return inst
}

// sameWords finds in the store what speak left there; a passing probe then shows the report again.
func sameWords(t *testing.T, s registry.Store, want mesh.Instance) {
	t.Helper()
	within(t, s, func(ctx context.Context, r *registry.Registry) {
		got, err := r.Instance(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("the instance in another registry (-want +got):\n%s", d)
		}
		if err := r.Judge(ctx, mesh.Ref{ID: "a", Incarnation: want.Incarnation}, mesh.Report{}); err != nil {
			t.Fatal(err)
		}
		if got, err = r.Instance(ctx, "a"); err != nil || got.Health != mesh.Degraded || got.HealthBy != mesh.SourceReport {
			t.Errorf("after a passing probe it is %s by %q (%v), want degraded by the report", got.Health, got.HealthBy, err)
		}
	})
}

func testWords(t *testing.T, s registry.Store) {
	sameWords(t, s, speak(t, s))
}
