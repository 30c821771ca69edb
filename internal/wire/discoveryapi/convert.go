package discoveryapi

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	discoveryv1 "github.com/toska-mesh/toska-mesh/api/discovery/v1"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func toProtoInstance(i *mesh.Instance) *discoveryv1.Instance {
	p := &discoveryv1.Instance{
		Id: i.ID, Service: i.Service, Incarnation: i.Incarnation,
		Address: i.Address, Port: int32(i.Port), Metadata: i.Metadata, Check: toProtoCheck(i.Check),
		Health: toProtoHealth(i.Health), HealthOutput: i.HealthOutput, HealthAt: toProtoTime(i.HealthAt),
		Draining: i.Draining, Registrar: i.Registrar, Node: i.Node,
		RegisteredAt: toProtoTime(i.RegisteredAt), Revision: i.Revision.String(),
		HealthBy: i.HealthBy, Evidence: toProtoEvidence(i.Evidence), Lifetime: toProtoLifetime(i.Lifetime),
	}
	if i.TTL != 0 {
		p.Ttl = durationpb.New(i.TTL)
	}
	return p
}

func toProtoLifetime(l mesh.Lifetime) discoveryv1.Lifetime {
	switch l {
	case mesh.Held:
		return discoveryv1.Lifetime_LIFETIME_HELD
	case mesh.Permanent:
		return discoveryv1.Lifetime_LIFETIME_PERMANENT
	case mesh.Leased:
	}
	return discoveryv1.Lifetime_LIFETIME_LEASED
}

func fromProtoLifetime(p discoveryv1.Lifetime) mesh.Lifetime {
	switch p {
	case discoveryv1.Lifetime_LIFETIME_HELD:
		return mesh.Held
	case discoveryv1.Lifetime_LIFETIME_PERMANENT:
		return mesh.Permanent
	case discoveryv1.Lifetime_LIFETIME_LEASED, discoveryv1.Lifetime_LIFETIME_UNSPECIFIED:
	}
	return mesh.Leased
}

func fromProtoInstance(p *discoveryv1.Instance) (mesh.Instance, error) {
	rev, err := mesh.ParseRevision(p.GetRevision())
	if err != nil {
		return mesh.Instance{}, err
	}
	health, _ := fromProtoHealth(p.GetHealth())
	return mesh.Instance{
		ID: p.GetId(), Service: p.GetService(), Incarnation: p.GetIncarnation(),
		Address: p.GetAddress(), Port: int(p.GetPort()), Metadata: p.GetMetadata(), Check: fromProtoCheck(p.GetCheck()),
		Health: health, HealthOutput: p.GetHealthOutput(), HealthAt: fromProtoTime(p.GetHealthAt()),
		Draining: p.GetDraining(), Registrar: p.GetRegistrar(), Node: p.GetNode(),
		RegisteredAt: fromProtoTime(p.GetRegisteredAt()), Revision: rev,
		HealthBy: p.GetHealthBy(), Evidence: fromProtoEvidence(p.GetEvidence()),
		Lifetime: fromProtoLifetime(p.GetLifetime()), TTL: p.GetTtl().AsDuration(),
	}, nil
}

func toProtoEvidence(list []mesh.Evidence) []*discoveryv1.Evidence {
	out := make([]*discoveryv1.Evidence, 0, len(list))
	for _, e := range list {
		out = append(out, &discoveryv1.Evidence{Source: e.Source, Health: toProtoHealth(e.Health), Output: e.Output, At: toProtoTime(e.At)})
	}
	return out
}

func fromProtoEvidence(list []*discoveryv1.Evidence) []mesh.Evidence {
	if len(list) == 0 {
		return nil
	}
	out := make([]mesh.Evidence, 0, len(list))
	for _, p := range list {
		health, _ := fromProtoHealth(p.GetHealth())
		out = append(out, mesh.Evidence{Source: p.GetSource(), Health: health, Output: p.GetOutput(), At: fromProtoTime(p.GetAt())})
	}
	return out
}

func toProtoRegistration(r mesh.Registration) *discoveryv1.Registration {
	p := &discoveryv1.Registration{
		Service: r.Service, Id: r.ID, Address: r.Address, Port: int32(min(max(r.Port, -1), 1<<30)),
		Metadata: r.Metadata, Check: toProtoCheck(r.Check), InitiallyFailing: r.InitiallyFailing,
		Lifetime: discoveryv1.Lifetime_LIFETIME_LEASED, Owner: r.Owner,
	}
	if r.Lifetime == mesh.Permanent {
		p.Lifetime = discoveryv1.Lifetime_LIFETIME_PERMANENT
	}
	if r.TTL != 0 {
		p.Ttl = durationpb.New(r.TTL)
	}
	return p
}

// fromProtoRegistration reads a registration that is Leased or Permanent; a session makes it Held.
func fromProtoRegistration(p *discoveryv1.Registration) mesh.Registration {
	r := mesh.Registration{
		Service: p.GetService(), ID: p.GetId(), Address: p.GetAddress(), Port: int(p.GetPort()),
		Metadata: p.GetMetadata(), Check: fromProtoCheck(p.GetCheck()), InitiallyFailing: p.GetInitiallyFailing(),
		Lifetime: mesh.Leased, TTL: p.GetTtl().AsDuration(), Owner: p.GetOwner(),
	}
	if p.GetLifetime() == discoveryv1.Lifetime_LIFETIME_PERMANENT {
		r.Lifetime = mesh.Permanent
	}
	return r
}

func toProtoCheck(c *mesh.Check) *discoveryv1.Check {
	if c == nil {
		return nil
	}
	return &discoveryv1.Check{Http: c.HTTP, Tls: c.TLS, Port: int32(min(max(c.Port, -1), 1<<30)),
		Interval: durationpb.New(c.Interval), Timeout: durationpb.New(c.Timeout),
		Up: int32(min(max(c.Up, 0), 1<<30)), Down: int32(min(max(c.Down, 0), 1<<30))}
}

func fromProtoCheck(p *discoveryv1.Check) *mesh.Check {
	if p == nil {
		return nil
	}
	return &mesh.Check{HTTP: p.GetHttp(), TLS: p.GetTls(), Port: int(p.GetPort()),
		Interval: p.GetInterval().AsDuration(), Timeout: p.GetTimeout().AsDuration(),
		Up: int(p.GetUp()), Down: int(p.GetDown())}
}

func toProtoHealth(h mesh.Health) discoveryv1.Health {
	switch h {
	case mesh.Passing:
		return discoveryv1.Health_HEALTH_PASSING
	case mesh.Degraded:
		return discoveryv1.Health_HEALTH_DEGRADED
	case mesh.Failing:
		return discoveryv1.Health_HEALTH_FAILING
	case mesh.Suspect:
		return discoveryv1.Health_HEALTH_SUSPECT
	}
	return discoveryv1.Health_HEALTH_UNSPECIFIED
}

// fromProtoHealth is false for a value that it does not know; the verdict is then Failing, because an
// unknown word is no reason to send requests.
func fromProtoHealth(p discoveryv1.Health) (mesh.Health, bool) {
	switch p {
	case discoveryv1.Health_HEALTH_PASSING:
		return mesh.Passing, true
	case discoveryv1.Health_HEALTH_DEGRADED:
		return mesh.Degraded, true
	case discoveryv1.Health_HEALTH_FAILING:
		return mesh.Failing, true
	case discoveryv1.Health_HEALTH_SUSPECT:
		return mesh.Suspect, true
	case discoveryv1.Health_HEALTH_UNSPECIFIED:
	}
	return mesh.Failing, false
}

// fromProtoVerdict reads a report; only the registry itself makes an instance suspect.
func fromProtoVerdict(p *discoveryv1.Verdict) (mesh.Report, error) {
	h, known := fromProtoHealth(p.GetHealth())
	if !known || h == mesh.Suspect {
		return mesh.Report{}, wrongField("health", "is none of passing, degraded, failing")
	}
	return mesh.Report{Health: h, Output: p.GetOutput()}, nil
}

func toProtoVerdict(r mesh.Report) *discoveryv1.Verdict {
	return &discoveryv1.Verdict{Health: toProtoHealth(r.Health), Output: r.Output}
}

func fromProtoRef(p *discoveryv1.Ref) (mesh.Ref, error) {
	if p.GetId() == "" {
		return mesh.Ref{}, wrongField("ref.id", "is required")
	}
	return mesh.Ref{ID: p.GetId(), Incarnation: p.GetIncarnation()}, nil
}

func toProtoRef(r mesh.Ref) *discoveryv1.Ref {
	return &discoveryv1.Ref{Id: r.ID, Incarnation: r.Incarnation}
}

func toProtoTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func fromProtoTime(p *timestamppb.Timestamp) time.Time {
	if p == nil {
		return time.Time{}
	}
	return p.AsTime()
}

func wrongField(field, problem string) error {
	return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid, Detail: "the request is not valid",
		Fields: []mesh.FieldError{{Field: field, Problem: problem}}}
}
