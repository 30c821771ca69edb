package upstream_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/traffic/balance"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestWhoIsSpokenToOverTLS(t *testing.T) {
	plain, secure := instance("a", "h", 1), instance("b", "h", 2, meta("scheme", "HTTPS"))
	says := instance("c", "h", 3, meta("scheme", "http"))
	for _, tc := range []struct {
		name string
		src  upstream.Source
		want []string
	}{
		{"an instance that says so", upstream.Source{Instances: []*mesh.Instance{plain, secure, says}}, []string{"h:1", "https://h:2", "h:3"}},
		{"all of a service that is configured so, whatever they say", upstream.Source{Secure: true, Instances: []*mesh.Instance{plain, secure, says}},
			[]string{"https://h:1", "https://h:2", "https://h:3"}},
		{"an endpoint that is written so", upstream.Source{Endpoints: []string{"e:1", "https://e:2"}}, []string{"e:1", "https://e:2"}},
		{"all endpoints of a service that is configured so", upstream.Source{Secure: true, Endpoints: []string{"e:1", "https://e:2"}}, []string{"https://e:1", "https://e:2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var o opener
			upstream.Build(nil, tc.src, o.open)
			if diff := cmp.Diff(tc.want, o.opened); diff != "" {
				t.Errorf("U-1: opened (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConnectionsAreMadeAnewWhenTheWayToSpeakChanges(t *testing.T) {
	a := []*mesh.Instance{instance("a", "h", 1)}
	same := upstream.Source{Instances: a}
	prev := upstream.Build(nil, same, new(opener).open)
	for name, src := range map[string]upstream.Source{
		"to TLS":               {Instances: a, Secure: true},
		"to another authority": {Instances: a, Secure: true, TLS: upstream.TLS{CA: "ca.pem"}},
		"to another name":      {Instances: a, Secure: true, TLS: upstream.TLS{CA: "ca.pem", ServerName: "a"}},
		"to TLS of its own":    {Instances: []*mesh.Instance{instance("a", "h", 1, meta("scheme", "https"))}},
	} {
		next := upstream.Build(prev, src, new(opener).open)
		if next.All()[0].Connections == prev.All()[0].Connections {
			t.Errorf("U-1: %s: the connections were kept", name)
		}
		if back := upstream.Build(next, same, new(opener).open); back.All()[0].Connections == next.All()[0].Connections {
			t.Errorf("U-1: %s and back: the connections were kept", name)
		}
	}
}

func TestAClosedServiceIsNotSpokenTo(t *testing.T) {
	u := upstream.Build(nil, upstream.Source{Closed: true, Instances: []*mesh.Instance{instance("a", "h", 1)}}, new(opener).open)
	if e := u.Acquire(new(balance.Tried)); e != nil || u.Why != "the service is quarantined, and its configuration asks for TLS" || u.Instances != 1 {
		t.Errorf("U-1: acquired %v, %q, %d instances", e, u.Why, u.Instances)
	}
}
