package discoveryapi

import (
	"errors"
	"fmt"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// restCheck is mesh.Check in JSON.
type restCheck struct {
	HTTP     string `json:"http,omitempty" doc:"Path of an HTTP probe; without one the probe is a TCP connection." example:"/healthz"`
	TLS      bool   `json:"tls,omitempty" doc:"Send an HTTP probe over TLS."`
	Port     int    `json:"port,omitempty" doc:"Port to probe at the instance's address; the instance's own by default."`
	Interval string `json:"interval,omitempty" doc:"Time between probes, as in 10s; 10s by default."`
	Timeout  string `json:"timeout,omitempty" doc:"Time one probe may take; 2s by default."`
	Up       int    `json:"up,omitempty" doc:"Successes in a row that make the instance passing again; 2 by default."`
	Down     int    `json:"down,omitempty" doc:"Failures in a row that make the instance failing; 3 by default."`
}

// restRegistration is mesh.Registration in JSON.
type restRegistration struct {
	Service  string            `json:"service" doc:"Name of the service, a DNS label." example:"orders"`
	ID       string            `json:"id,omitempty" doc:"Id of the instance; made by the registry if absent."`
	Address  string            `json:"address,omitempty" doc:"Host name or IP address; absent, loopback or unspecified for the caller's own."`
	Port     int               `json:"port" doc:"1 to 65535." example:"9000"`
	Metadata map[string]string `json:"metadata,omitempty" doc:"Free, but for lb_strategy, weight, scheme and what else the gateway reads; 64 KiB at most."`
	Check    *restCheck        `json:"check,omitempty" doc:"How to probe the instance; absent for not at all."`
	// InitiallyFailing is what a check's "initial: failing" means elsewhere.
	InitiallyFailing bool   `json:"initiallyFailing,omitempty" doc:"Serve only after the first passing report or probe."`
	Lifetime         string `json:"lifetime,omitempty" enum:"leased,permanent" doc:"leased (the default) lives as long as it is renewed, permanent until it is deregistered."`
	TTL              string `json:"ttl,omitempty" doc:"Lease of a leased registration, as in 30s (the default)." example:"30s"`
}

var _ huma.Resolver = (*restRegistration)(nil)

// Resolve adds each wrong field that the schema does not find to the problem.
func (r *restRegistration) Resolve(huma.Context) []error {
	reg, err := r.registration()
	return append(details(err), details(registry.Validate(reg, registry.LabelNames))...)
}

// registration reads the fields; durations that are none are named by the error and left zero.
func (r *restRegistration) registration() (mesh.Registration, error) {
	var wrong []mesh.FieldError
	duration := func(field, s string) time.Duration {
		d, err := parseDuration(s)
		if err != nil {
			wrong = append(wrong, mesh.FieldError{Field: field, Problem: err.Error()})
		}
		return d
	}
	out := mesh.Registration{Service: r.Service, ID: r.ID, Address: r.Address, Port: r.Port,
		Metadata: r.Metadata, InitiallyFailing: r.InitiallyFailing, Lifetime: mesh.Leased,
		TTL: duration("ttl", r.TTL)}
	if r.Lifetime == "permanent" {
		out.Lifetime = mesh.Permanent
	}
	if c := r.Check; c != nil {
		out.Check = &mesh.Check{HTTP: c.HTTP, TLS: c.TLS, Port: c.Port, Up: c.Up, Down: c.Down,
			Interval: duration("check.interval", c.Interval), Timeout: duration("check.timeout", c.Timeout)}
	}
	if len(wrong) > 0 {
		return out, &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid,
			Detail: "the registration is not valid", Fields: wrong}
	}
	return out, nil
}

// parseDuration reads "10s"; nothing is zero.
func parseDuration(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%.40q is not a duration such as 500ms, 10s or 1m30s", s)
	}
	return d, nil
}

// details are the fields of err as the REST library collects them.
func details(err error) []error {
	var e *mesh.Error
	if !errors.As(err, &e) {
		return nil
	}
	out := make([]error, 0, len(e.Fields))
	for _, f := range e.Fields {
		out = append(out, &huma.ErrorDetail{Location: "body." + f.Field, Message: f.Problem})
	}
	return out
}

// restEvidence is mesh.Evidence in JSON.
type restEvidence struct {
	Source string    `json:"source" enum:"report,probe,session,lease" doc:"Who said it: the instance, a probe of it, the end of its session, a lease that lapsed."`
	Health string    `json:"health" enum:"passing,degraded,failing,suspect"`
	Output string    `json:"output,omitempty" doc:"What the source said with it."`
	At     time.Time `json:"at" doc:"When the source changed its word."`
}

// restInstance is mesh.Instance in JSON.
type restInstance struct {
	ID           string            `json:"id"`
	Service      string            `json:"service"`
	Incarnation  uint64            `json:"incarnation" doc:"Rises with each registration of the id."`
	Address      string            `json:"address"`
	Port         int               `json:"port"`
	Metadata     map[string]string `json:"metadata"`
	Check        *restCheck        `json:"check,omitempty"`
	Health       string            `json:"health" enum:"passing,degraded,failing,suspect"`
	HealthOutput string            `json:"healthOutput,omitempty" doc:"Last words of whoever gave the verdict."`
	HealthAt     *time.Time        `json:"healthAt,omitempty" doc:"When the verdict was given."`
	HealthBy     string            `json:"healthBy,omitempty" doc:"Source whose word the verdict is; absent for the health that it began with."`
	Evidence     []restEvidence    `json:"evidence,omitempty" doc:"The last word of each source that has spoken, sorted by source."`
	Draining     bool              `json:"draining" doc:"Finishes what it has and is given nothing new."`
	Registrar    string            `json:"registrar" enum:"anonymous,service,admin" doc:"Who registered it."`
	Node         string            `json:"node" doc:"Id of the node that hears it."`
	RegisteredAt time.Time         `json:"registeredAt"`
	Revision     string            `json:"revision" doc:"Revision at which it last changed."`
}

func toREST(i *mesh.Instance) restInstance {
	out := restInstance{ID: i.ID, Service: i.Service, Incarnation: i.Incarnation, Address: i.Address,
		Port: i.Port, Metadata: i.Metadata, Health: i.Health.String(), HealthOutput: i.HealthOutput,
		HealthBy: i.HealthBy, Draining: i.Draining, Registrar: i.Registrar, Node: i.Node, RegisteredAt: i.RegisteredAt,
		Revision: i.Revision.String()}
	if out.Metadata == nil {
		out.Metadata = map[string]string{}
	}
	if !i.HealthAt.IsZero() {
		out.HealthAt = &i.HealthAt
	}
	if c := i.Check; c != nil {
		out.Check = &restCheck{HTTP: c.HTTP, TLS: c.TLS, Port: c.Port, Interval: formatDuration(c.Interval),
			Timeout: formatDuration(c.Timeout), Up: c.Up, Down: c.Down}
	}
	for _, e := range i.Evidence {
		out.Evidence = append(out.Evidence, restEvidence{Source: e.Source, Health: e.Health.String(), Output: e.Output, At: e.At})
	}
	return out
}

func formatDuration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func toRESTList(list []*mesh.Instance) []restInstance {
	out := make([]restInstance, 0, len(list))
	for _, i := range list {
		out = append(out, toREST(i))
	}
	return out
}

// restService is a service in the list of all.
type restService struct {
	Service   string `json:"service"`
	Instances int    `json:"instances" doc:"How many there are."`
	Passing   int    `json:"passing" doc:"How many of them are passing and not draining."`
}

// restServices is the list of all services.
type restServices struct {
	Revision string        `json:"revision"`
	Stale    bool          `json:"stale" doc:"The node cannot reach its store; this is its last knowledge."`
	Services []restService `json:"services"`
}

// restInstances is a list of instances at a revision.
type restInstances struct {
	Revision  string         `json:"revision"`
	Stale     bool           `json:"stale" doc:"The node cannot reach its store; this is its last knowledge."`
	Instances []restInstance `json:"instances"`
}

// restChange is one event of a watch.
type restChange struct {
	Revision string              `json:"revision" doc:"What to ask from next."`
	Stale    bool                `json:"stale" doc:"The node cannot reach its store; this is its last knowledge."`
	Full     bool                `json:"full" doc:"The services are all there are; otherwise those that changed."`
	Services []restServiceChange `json:"services"`
}

// restServiceChange is one service, whole.
type restServiceChange struct {
	Service   string         `json:"service"`
	Instances []restInstance `json:"instances" doc:"All of its instances; none if the service is gone."`
}

func toRESTChange(c change) restChange {
	out := restChange{Revision: c.revision.String(), Stale: c.stale, Full: c.full,
		Services: make([]restServiceChange, 0, len(c.services))}
	for _, s := range c.services {
		out.Services = append(out.Services, restServiceChange{Service: s.key, Instances: toRESTList(s.instances)})
	}
	return out
}
