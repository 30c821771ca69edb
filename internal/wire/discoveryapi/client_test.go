package discoveryapi_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func web(id string) mesh.Registration {
	return mesh.Registration{Service: "web", ID: id, Address: "10.0.0.7", Port: 9000,
		Metadata: map[string]string{"weight": "3"},
		Check:    &mesh.Check{HTTP: "/healthz", TLS: true, Port: 9001, Interval: 5 * time.Second, Timeout: time.Second, Up: 4, Down: 2},
		Lifetime: mesh.Leased}
}

func TestClientRegistersAndSeesWhatTheRegistrySees(t *testing.T) {
	n := start(t)
	c := n.client(t, serviceToken)
	ctx := t.Context()
	i, err := c.Register(ctx, web("web-1"))
	if err != nil {
		t.Fatal(err)
	}
	if i.Registrar != "service" || i.Incarnation == 0 {
		t.Errorf("registered as %q with incarnation %d, want service and one", i.Registrar, i.Incarnation)
	}
	if err := c.Report(ctx, mesh.Ref{ID: "web-1", Incarnation: i.Incarnation},
		mesh.Report{Health: mesh.Degraded, Output: "slow"}); err != nil {
		t.Fatal(err)
	}
	if err := n.judge(t, "web-1", mesh.Report{Health: mesh.Passing}); err != nil {
		t.Fatal(err)
	}
	if err := n.judge(t, "web-1", mesh.Report{Health: mesh.Failing, Output: "503"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Drain(ctx, mesh.Ref{ID: "web-1"}); err != nil {
		t.Fatal(err)
	}
	got, err := c.Instance(ctx, "web-1")
	if err != nil {
		t.Fatal(err)
	}
	want, err := n.registry.Instance(ctx, "web-1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApproxTime(0)); diff != "" {
		t.Errorf("the instance over the wire differs (-registry +client):\n%s", diff)
	}
	if got.Health != mesh.Failing || !got.Draining || got.HealthBy != mesh.SourceProbe || len(got.Evidence) != 2 {
		t.Errorf("got %+v, want failing by the probe, beside the report, and draining", got)
	}
	if *got.Check != *web("").Check {
		t.Errorf("check = %+v, want %+v", *got.Check, *web("").Check)
	}
	snap, err := c.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	direct, err := n.registry.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(direct, snap); diff != "" {
		t.Errorf("the snapshot over the wire differs (-registry +client):\n%s", diff)
	}
	if err := c.Renew(ctx, mesh.Ref{ID: "web-1"}); err != nil {
		t.Errorf("renew: %v", err)
	}
	if err := c.Deregister(ctx, mesh.Ref{ID: "web-1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Instance(ctx, "web-1"); !errors.Is(err, mesh.ErrNotFound) || mesh.CodeOf(err) != mesh.CodeInstanceNone {
		t.Errorf("after deregistering: %v (%s), want not found with %s", err, mesh.CodeOf(err), mesh.CodeInstanceNone)
	}
}

func TestClientErrorsKeepKindCodeAndFields(t *testing.T) {
	n := start(t)
	c := n.client(t, serviceToken)
	_, err := c.Register(t.Context(), mesh.Registration{Service: "not a label", Port: 70000, Lifetime: mesh.Leased})
	var e *mesh.Error
	if !errors.As(err, &e) || !errors.Is(err, mesh.ErrInvalid) || e.Code != mesh.CodeInvalid {
		t.Fatalf("got %v, want an invalid mesh.Error", err)
	}
	var fields []string
	for _, f := range e.Fields {
		fields = append(fields, f.Field)
	}
	if diff := cmp.Diff([]string{"service", "port"}, fields); diff != "" {
		t.Errorf("wrong fields (-want +got):\n%s", diff)
	}
	// N-18: the word of an older incarnation does not count.
	first, err := c.Register(t.Context(), web("web-1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Register(t.Context(), web("web-1")); err != nil {
		t.Fatal(err)
	}
	err = c.Renew(t.Context(), mesh.Ref{ID: "web-1", Incarnation: first.Incarnation})
	if !errors.Is(err, mesh.ErrStale) || mesh.CodeOf(err) != mesh.CodeStale {
		t.Errorf("renewal of an older incarnation: %v, want stale", err)
	}
}

func TestClientNeedsTheRightToken(t *testing.T) {
	n := start(t)
	tests := []struct {
		name, token string
		reads       bool
		want        error
	}{
		{"without a token from loopback reading works and writing does not", "", true, mesh.ErrUnauthenticated},
		{"an unknown token is refused for everything", "guess", false, mesh.ErrUnauthenticated},
		{"the service token writes", serviceToken, true, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := n.client(t, tt.token)
			if _, err := c.Snapshot(t.Context()); (err == nil) != tt.reads {
				t.Errorf("Snapshot: %v, want reading = %v", err, tt.reads)
			}
			if _, err := c.Register(t.Context(), web("w")); !errors.Is(err, tt.want) {
				t.Errorf("Register: %v, want %v", err, tt.want)
			}
			if _, err := c.Open(t.Context(), web("v"), 0); !errors.Is(err, tt.want) {
				t.Errorf("Open: %v, want %v", err, tt.want)
			}
		})
	}
}

func TestReadingNeedsATokenWhereOtherMachinesReach(t *testing.T) {
	n := start(t, func(l *httpapi.Listener) { l.Loopback = false })
	if _, err := n.client(t, "").Snapshot(t.Context()); !errors.Is(err, mesh.ErrUnauthenticated) {
		t.Errorf("without a token: %v, want unauthenticated", err)
	}
	for _, err := range n.client(t, "").Watch(t.Context(), mesh.Revision{}) {
		if !errors.Is(err, mesh.ErrUnauthenticated) {
			t.Errorf("watch without a token: %v, want unauthenticated", err)
		}
	}
	if _, err := n.client(t, serviceToken).Snapshot(t.Context()); err != nil {
		t.Errorf("with a token: %v", err)
	}
}

func TestClientOfADeadNodeSaysUnavailable(t *testing.T) {
	n := start(t)
	n.stop()
	c := n.client(t, serviceToken)
	if _, err := c.Snapshot(t.Context()); !errors.Is(err, mesh.ErrUnavailable) {
		t.Errorf("Snapshot: %v, want unavailable", err)
	}
	if _, err := c.Open(t.Context(), web("w"), 0); !errors.Is(err, mesh.ErrUnavailable) {
		t.Errorf("Open: %v, want unavailable", err)
	}
	for _, err := range c.Watch(t.Context(), mesh.Revision{}) {
		if !errors.Is(err, mesh.ErrUnavailable) {
			t.Errorf("Watch: %v, want unavailable", err)
		}
	}
}

func TestCancelledCallStaysRecognisable(t *testing.T) {
	n := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.client(t, "").Snapshot(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestClosedClientRefuses(t *testing.T) {
	n := start(t)
	c := discoveryapi.NewClient(n.addr, serviceToken)
	s, err := c.Open(t.Context(), web("w"), 0)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	<-s.Done()
	if !errors.Is(s.Err(), mesh.ErrUnavailable) {
		t.Errorf("session after Close: %v, want unavailable", s.Err())
	}
	if _, err := c.Open(t.Context(), web("w"), 0); !errors.Is(err, mesh.ErrUnavailable) {
		t.Errorf("Open after Close: %v, want unavailable", err)
	}
}
