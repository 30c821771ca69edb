package discoveryapi

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// rest has the operations over the contract.
type rest struct{ d mesh.Discovery }

// body is an answer with nothing but a body.
type body[T any] struct{ Body T }

// refInput names an incarnation of an instance.
type refInput struct {
	ID          string `path:"id" doc:"Id of the instance."`
	Incarnation uint64 `query:"incarnation" doc:"Incarnation that is meant; absent for the current one."`
}

func (r *refInput) ref() mesh.Ref { return mesh.Ref{ID: r.ID, Incarnation: r.Incarnation} }

func mountREST(api *httpapi.API, d mesh.Discovery) {
	r := &rest{d}
	op := func(method, path, id, summary string, status int) huma.Operation {
		return huma.Operation{Method: method, Path: "/api/v1" + path, OperationID: id, Summary: summary,
			DefaultStatus: status, Tags: []string{"discovery"}, MaxBodyBytes: httpapi.MaxBody}
	}
	httpapi.Handle(api, op("POST", "/instances", "register", "Register an instance", http.StatusCreated), r.register)
	httpapi.Handle(api, op("GET", "/services", "list-services", "List the services", http.StatusOK), r.services)
	httpapi.Handle(api, op("GET", "/services/{service}", "get-service", "List a service's instances", http.StatusOK), r.service)
	httpapi.Handle(api, op("GET", "/instances", "list-instances", "List all instances", http.StatusOK), r.instances)
	httpapi.Handle(api, op("GET", "/instances/{id}", "get-instance", "Get an instance", http.StatusOK), r.instance)
	httpapi.Handle(api, op("POST", "/instances/{id}/renew", "renew", "Renew an instance's lease", http.StatusNoContent), r.renew)
	httpapi.Handle(api, op("POST", "/instances/{id}/report", "report", "Report an instance's health", http.StatusNoContent), r.report)
	httpapi.Handle(api, op("POST", "/instances/{id}/drain", "drain", "Take an instance out of rotation", http.StatusNoContent), r.drain)
	httpapi.Handle(api, op("DELETE", "/instances/{id}", "deregister", "Deregister an instance", http.StatusNoContent), r.deregister)
	mountWatch(api, d)
}

func (r *rest) register(ctx context.Context, in *struct{ Body restRegistration }) (*struct {
	Location string `header:"Location"`
	Body     restInstance
}, error) {
	reg, err := in.Body.registration()
	if err != nil {
		return nil, err
	}
	i, err := r.d.Register(ctx, reg)
	if err != nil {
		return nil, err
	}
	return &struct {
		Location string `header:"Location"`
		Body     restInstance
	}{"/api/v1/instances/" + i.ID, toREST(&i)}, nil
}

func (r *rest) services(ctx context.Context, _ *struct{}) (*body[restServices], error) {
	s, err := r.d.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	out := &body[restServices]{restServices{Revision: s.Revision.String(), Stale: s.Stale,
		Services: make([]restService, 0, len(s.Services))}}
	for _, list := range s.Services {
		one := restService{Service: list[0].Service, Instances: len(list)}
		for _, i := range list {
			if i.Health == mesh.Passing && !i.Draining {
				one.Passing++
			}
		}
		out.Body.Services = append(out.Body.Services, one)
	}
	slices.SortFunc(out.Body.Services, func(a, b restService) int { return strings.Compare(a.Service, b.Service) })
	return out, nil
}

func (r *rest) service(ctx context.Context, in *struct {
	Service string `path:"service" doc:"Name of the service, in any case."`
}) (*body[restInstances], error) {
	s, err := r.d.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	list, ok := s.Services[mesh.ServiceKey(in.Service)]
	if !ok {
		return nil, &mesh.Error{Kind: mesh.ErrNotFound, Code: mesh.CodeNotFound,
			Detail: "no instance of the service " + in.Service + " is registered"}
	}
	return &body[restInstances]{restInstances{s.Revision.String(), s.Stale, toRESTList(list)}}, nil
}

func (r *rest) instances(ctx context.Context, _ *struct{}) (*body[restInstances], error) {
	s, err := r.d.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	whole, _ := (&differ{}).next(s)
	out := &body[restInstances]{restInstances{s.Revision.String(), s.Stale, []restInstance{}}}
	for _, one := range whole.services {
		out.Body.Instances = append(out.Body.Instances, toRESTList(one.instances)...)
	}
	return out, nil
}

func (r *rest) instance(ctx context.Context, in *struct {
	ID string `path:"id" doc:"Id of the instance."`
}) (*body[restInstance], error) {
	i, err := r.d.Instance(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &body[restInstance]{toREST(&i)}, nil
}

func (r *rest) renew(ctx context.Context, in *refInput) (*struct{}, error) {
	return nil, r.d.Renew(ctx, in.ref())
}

func (r *rest) report(ctx context.Context, in *struct {
	ID          string `path:"id" doc:"Id of the instance."`
	Incarnation uint64 `query:"incarnation" doc:"Incarnation that is meant; absent for the current one."`
	Body        struct {
		Health string `json:"health" enum:"passing,degraded,failing" doc:"The verdict."`
		Output string `json:"output,omitempty" doc:"Free text; cut after 4 KiB."`
	}
}) (*struct{}, error) {
	h, err := mesh.ParseHealth(in.Body.Health)
	if err != nil {
		return nil, err
	}
	return nil, r.d.Report(ctx, mesh.Ref{ID: in.ID, Incarnation: in.Incarnation}, mesh.Report{Health: h, Output: in.Body.Output})
}

func (r *rest) drain(ctx context.Context, in *refInput) (*struct{}, error) {
	return nil, r.d.Drain(ctx, in.ref())
}

func (r *rest) deregister(ctx context.Context, in *refInput) (*struct{}, error) {
	return nil, r.d.Deregister(ctx, in.ref())
}
