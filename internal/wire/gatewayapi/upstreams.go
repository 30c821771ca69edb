package gatewayapi

import (
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// restUpstreams is the answer.
type restUpstreams struct {
	Upstreams []restUpstream `json:"upstreams" doc:"By service."`
}

// restUpstream is mesh.UpstreamStatus in JSON.
type restUpstream struct {
	Service     string         `json:"service"`
	Source      string         `json:"source" enum:"registry,file" doc:"Where its endpoints are from."`
	Origin      string         `json:"origin,omitempty" doc:"Where the file has the service." example:"mesh.yaml:12:3"`
	Overridden  int            `json:"overridden,omitempty" doc:"Instances of the registry that the file's endpoints stand in the place of."`
	Quarantined string         `json:"quarantined,omitempty" doc:"Why the file's entry for it is not in force."`
	Why         string         `json:"why,omitempty" doc:"Why no endpoint can be picked."`
	Endpoints   []restEndpoint `json:"endpoints"`
	Ejections   uint64         `json:"ejections" doc:"How often an endpoint was put out on observed failures."`
	Retries     uint64         `json:"retries" doc:"Attempts beyond the first of a request."`
}

// restEndpoint is mesh.EndpointStatus in JSON.
type restEndpoint struct {
	Address       string     `json:"address" example:"10.0.0.7:8080"`
	Instance      string     `json:"instance,omitempty" doc:"Id of the instance; none for an endpoint of the file."`
	Picked        bool       `json:"picked" doc:"Whether new requests go there now."`
	Why           string     `json:"why,omitempty" doc:"Why not, or what is the matter all the same."`
	InFlight      int64      `json:"in_flight" doc:"Requests that it is serving for this gateway."`
	Failures      int        `json:"failures" doc:"Attempts in a row that failed."`
	LastFailure   string     `json:"last_failure,omitempty" doc:"Code of the last one." example:"TOSKA-UP-UNWELL"`
	LastFailureAt *time.Time `json:"last_failure_at,omitempty"`
	EjectedAt     *time.Time `json:"ejected_at,omitempty"`
	EjectedUntil  *time.Time `json:"ejected_until,omitempty"`
	EjectedFor    string     `json:"ejected_for,omitempty" doc:"Why it is out."`
	Share         float64    `json:"share" doc:"What of its full share of requests it gets: less than 1 while it warms up, 0 while it is out."`
}

func upstreamsToREST(list []mesh.UpstreamStatus) restUpstreams {
	out := restUpstreams{Upstreams: make([]restUpstream, 0, len(list))}
	for _, u := range list {
		one := restUpstream{Service: u.Service, Source: u.Source, Origin: u.Origin, Overridden: u.Overridden, Quarantined: u.Quarantined,
			Why: u.Why, Endpoints: make([]restEndpoint, 0, len(u.Endpoints)), Ejections: u.Ejections, Retries: u.Retries}
		for _, e := range u.Endpoints {
			one.Endpoints = append(one.Endpoints, restEndpoint{Address: e.Address, Instance: e.Instance, Picked: e.Picked, Why: e.Why,
				InFlight: e.InFlight, Failures: e.Failures, LastFailure: e.LastFailure, LastFailureAt: some(e.LastFailureAt),
				EjectedAt: some(e.EjectedAt), EjectedUntil: some(e.EjectedUntil), EjectedFor: e.EjectedFor, Share: e.Share})
		}
		out.Upstreams = append(out.Upstreams, one)
	}
	return out
}

func upstreamsFromREST(in restUpstreams) []mesh.UpstreamStatus {
	var out []mesh.UpstreamStatus
	for _, u := range in.Upstreams {
		one := mesh.UpstreamStatus{Service: u.Service, Source: u.Source, Origin: u.Origin, Overridden: u.Overridden, Quarantined: u.Quarantined,
			Why: u.Why, Ejections: u.Ejections, Retries: u.Retries}
		for _, e := range u.Endpoints {
			one.Endpoints = append(one.Endpoints, mesh.EndpointStatus{Address: e.Address, Instance: e.Instance, Picked: e.Picked, Why: e.Why,
				InFlight: e.InFlight, Failures: e.Failures, LastFailure: e.LastFailure, LastFailureAt: orZero(e.LastFailureAt),
				EjectedAt: orZero(e.EjectedAt), EjectedUntil: orZero(e.EjectedUntil), EjectedFor: e.EjectedFor, Share: e.Share})
		}
		out = append(out, one)
	}
	return out
}

// some is nil for the zero time.
func some(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC())
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
