// Package healthapi carries the mesh.Probing contract over a node's control port: described REST, and a
// Client that satisfies the same contract at the other end.
//
// # Concurrency
//
// Handlers and Client are safe for concurrent use, and start no goroutine.
package healthapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	probesPath    = "/api/v1/probes"
	instancesPath = "/api/v1/instances/"
)

// Mount adds GET /api/v1/probes and POST /api/v1/instances/{id}/probe to api, over p.
func Mount(api *httpapi.API, p mesh.Probing) {
	httpapi.Handle(api, huma.Operation{Method: http.MethodGet, Path: probesPath, OperationID: "list-probes",
		Summary: "List the probes that this node makes", Tags: []string{"health"}},
		func(ctx context.Context, in *struct {
			Service string `query:"service" doc:"Name of a service, in any case; absent for all."`
		}) (*struct{ Body restProbes }, error) {
			list, err := p.Probes(ctx, in.Service)
			if err != nil {
				return nil, err
			}
			out := restProbes{Probes: make([]restProbe, 0, len(list))}
			for i := range list {
				out.Probes = append(out.Probes, toREST(&list[i]))
			}
			return &struct{ Body restProbes }{out}, nil
		})
	httpapi.Handle(api, huma.Operation{Method: http.MethodPost, Path: instancesPath + "{id}/probe", OperationID: "probe",
		Summary: "Probe an instance now", Tags: []string{"health"}, DefaultStatus: http.StatusOK, MaxBodyBytes: httpapi.MaxBody},
		func(ctx context.Context, in *struct {
			ID string `path:"id" doc:"Id of the instance."`
		}) (*struct{ Body restProbe }, error) {
			st, err := p.ProbeNow(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			return &struct{ Body restProbe }{toREST(&st)}, nil
		})
}

// restProbes is the answer.
type restProbes struct {
	Probes []restProbe `json:"probes" doc:"Sorted by service and instance."`
}

// restProbe is mesh.ProbeStatus in JSON.
type restProbe struct {
	ID          string         `json:"id" doc:"Id of the instance."`
	Service     string         `json:"service"`
	Incarnation uint64         `json:"incarnation" doc:"Incarnation that is probed."`
	Check       restProbeCheck `json:"check"`
	Target      string         `json:"target" doc:"What is probed." example:"http://10.0.0.7:8080/health"`
	At          *time.Time     `json:"at,omitempty" doc:"When the last probe began; absent before the first."`
	Took        string         `json:"took,omitempty" doc:"How long it took." example:"3.2ms"`
	OK          bool           `json:"ok" doc:"Whether it succeeded."`
	Output      string         `json:"output,omitempty" doc:"What it found, in a line."`
	InARow      int            `json:"inARow" doc:"How many probes went like the last."`
	Health      string         `json:"health" enum:"passing,failing" doc:"What the probes say after their thresholds; passing before the first."`
}

// restProbeCheck is mesh.Check in JSON, with its defaults filled in.
type restProbeCheck struct {
	HTTP     string `json:"http,omitempty" doc:"Path of an HTTP probe; absent for a TCP connection."`
	TLS      bool   `json:"tls,omitempty" doc:"The HTTP probe goes over TLS."`
	Port     int    `json:"port" doc:"Port that is probed."`
	Interval string `json:"interval" doc:"Time between probes." example:"10s"`
	Timeout  string `json:"timeout" doc:"Time that one probe may take." example:"2s"`
	Up       int    `json:"up" doc:"Successes in a row that make the instance passing again."`
	Down     int    `json:"down" doc:"Failures in a row that make it failing."`
}

func toREST(st *mesh.ProbeStatus) restProbe {
	c := &st.Check
	out := restProbe{ID: st.ID, Service: st.Service, Incarnation: st.Incarnation, Target: st.Target, OK: st.OK,
		Output: st.Output, InARow: st.InARow, Health: st.Health.String(),
		Check: restProbeCheck{HTTP: c.HTTP, TLS: c.TLS, Port: c.Port, Interval: c.Interval.String(), Timeout: c.Timeout.String(),
			Up: c.Up, Down: c.Down}}
	if !st.At.IsZero() {
		at := st.At.UTC()
		out.At, out.Took = &at, st.Took.String()
	}
	return out
}

func fromREST(in *restProbe) (mesh.ProbeStatus, error) {
	out := mesh.ProbeStatus{ID: in.ID, Service: in.Service, Incarnation: in.Incarnation, Target: in.Target, OK: in.OK,
		Output: in.Output, InARow: in.InARow,
		Check: mesh.Check{HTTP: in.Check.HTTP, TLS: in.Check.TLS, Port: in.Check.Port, Up: in.Check.Up, Down: in.Check.Down}}
	var err error
	duration := func(s string) (d time.Duration) {
		if s == "" || err != nil {
			return 0
		}
		d, err = time.ParseDuration(s)
		return d
	}
	out.Check.Interval, out.Check.Timeout, out.Took = duration(in.Check.Interval), duration(in.Check.Timeout), duration(in.Took)
	if err == nil {
		out.Health, err = mesh.ParseHealth(in.Health)
	}
	if in.At != nil {
		out.At = *in.At
	}
	if err != nil {
		return mesh.ProbeStatus{}, fmt.Errorf("read the probe of %.64q: %w", in.ID, err)
	}
	return out, nil
}
