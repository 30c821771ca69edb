package familyapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	familyv1 "github.com/toska-mesh/toska-mesh/api/family/discovery/v1"
	"github.com/toska-mesh/toska-mesh/api/family/discovery/v1/familyv1connect"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Liveness knows when an instance was last heard of.
type Liveness interface {
	// LastHeard is false for an instance that was not heard by this node.
	LastHeard(id string) (time.Time, bool)
}

// Options are the rare things of the handler.
type Options struct {
	// Liveness may be nil: nobody was heard then.
	Liveness Liveness
	// Metadata takes what POST /metadata brings; without it there is no such path.
	Metadata mesh.MetadataEditor
	// Probing probes when POST /health/check asks for it; without it there is no such path.
	Probing mesh.Probing
	// Serving tells gRPC health whether the service can do its work now; nil means always.
	Serving func() bool
	// Reflect names further gRPC services of the same listener that reflection tells of.
	Reflect []string
	// Log takes failures of the node's own; nil for none.
	Log *slog.Logger
}

// Mount adds the service, gRPC health, gRPC reflection (v1 and v1alpha) and the REST surface to mux, over
// d. Health is open to every caller, the rest to those that httpapi.MayUseFamily admits. The paths of the
// REST surface are mounted in lower case: httpapi.Handler serves them in any.
func Mount(mux *http.ServeMux, d mesh.Discovery, opt Options) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	may := func(ctx context.Context, _ string) error { return httpapi.MayUseFamily(ctx) }
	guarded := connect.WithHandlerOptions(connect.WithReadMaxBytes(httpapi.MaxBody),
		connect.WithInterceptors(httpapi.NewInterceptor(may, opt.Log)))
	h := &handler{d: d, live: opt.Liveness}
	mux.Handle(familyv1connect.NewDiscoveryRegistryHandler(h, guarded))
	mountREST(mux, h, opt)
	mux.Handle(grpchealth.NewHandler(checker{opt.Serving}))
	reflector := grpcreflect.NewStaticReflector(append([]string{
		familyv1connect.DiscoveryRegistryName, grpchealth.HealthV1ServiceName}, opt.Reflect...)...)
	mux.Handle(grpcreflect.NewHandlerV1(reflector, guarded))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector, guarded))
}

// checker answers gRPC health for the whole server and for the family's service.
type checker struct{ serving func() bool }

// Check implements grpchealth.Checker.
func (c checker) Check(_ context.Context, req *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	if req.Service != "" && req.Service != familyv1connect.DiscoveryRegistryName {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no service %q here", req.Service))
	}
	if c.serving != nil && !c.serving() {
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
	}
	return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
}

type handler struct {
	d    mesh.Discovery
	live Liveness
}

var _ familyv1connect.DiscoveryRegistryHandler = (*handler)(nil)

// Register answers a registration that failed with the reason, not with an error: that is what the
// family's clients look at.
func (h *handler) Register(ctx context.Context, req *familyv1.RegisterServiceRequest) (*familyv1.RegisterServiceResponse, error) {
	wish := wishOf(req)
	r := wish.registration()
	i, err := h.d.Register(ctx, r)
	if err != nil {
		p := httpapi.RPCProblem(err)
		return &familyv1.RegisterServiceResponse{ServiceId: r.ID, ErrorMessage: message(p.GetDetail(), err)}, nil
	}
	return &familyv1.RegisterServiceResponse{Success: true, ServiceId: i.ID}, nil
}

// message is the detail with each wrong field, under the names that the client used.
func message(detail string, err error) string {
	var e *mesh.Error
	if !errors.As(err, &e) {
		return detail
	}
	out := mesh.Error{Detail: detail, Fields: familyFields(e.Fields)}
	return out.Error()
}

// Deregister tells whether there was something to remove.
func (h *handler) Deregister(ctx context.Context, req *familyv1.DeregisterServiceRequest) (*familyv1.DeregisterServiceResponse, error) {
	err := h.d.Deregister(ctx, mesh.Ref{ID: req.GetServiceId()})
	if errors.Is(err, mesh.ErrNotFound) {
		return &familyv1.DeregisterServiceResponse{}, nil
	}
	return &familyv1.DeregisterServiceResponse{Removed: err == nil}, err
}

// GetInstances matches the name without case; an unknown service has no instances.
func (h *handler) GetInstances(ctx context.Context, req *familyv1.GetInstancesRequest) (*familyv1.GetInstancesResponse, error) {
	s, err := h.d.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	list := s.Services[mesh.ServiceKey(req.GetServiceName())]
	out := &familyv1.GetInstancesResponse{Instances: make([]*familyv1.ServiceInstance, 0, len(list))}
	for _, i := range list {
		out.Instances = append(out.Instances, h.instance(i))
	}
	return out, nil
}

// GetServices leaves out the registry that the family's own implementation ran on.
func (h *handler) GetServices(ctx context.Context, _ *familyv1.GetServicesRequest) (*familyv1.GetServicesResponse, error) {
	s, err := h.d.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return &familyv1.GetServicesResponse{ServiceNames: serviceNames(s)}, nil
}

func serviceNames(s *mesh.Snapshot) []string {
	names := make([]string, 0, len(s.Services))
	for key, list := range s.Services {
		if key != "consul" {
			names = append(names, list[0].Service)
		}
	}
	slices.Sort(names)
	return names
}

// ReportHealth renews with every report. A status of unknown is no verdict: it changes nothing else.
func (h *handler) ReportHealth(ctx context.Context, req *familyv1.ReportHealthRequest) (*familyv1.ReportHealthResponse, error) {
	err := h.report(ctx, req.GetServiceId(), req.GetStatus(), req.GetOutput())
	if errors.Is(err, mesh.ErrNotFound) {
		return &familyv1.ReportHealthResponse{}, nil
	}
	return &familyv1.ReportHealthResponse{Success: err == nil}, err
}

func (h *handler) report(ctx context.Context, id string, s familyv1.HealthStatus, output string) error {
	ref := mesh.Ref{ID: id}
	if health, known := verdict(s); known {
		return h.d.Report(ctx, ref, mesh.Report{Health: health, Output: output})
	}
	return h.d.Renew(ctx, ref)
}

// heard is when there was last a word on the instance's health; zero for never.
func (h *handler) heard(i *mesh.Instance) time.Time {
	if h.live != nil {
		if t, ok := h.live.LastHeard(i.ID); ok {
			return t
		}
	}
	return i.HealthAt
}

func (h *handler) instance(i *mesh.Instance) *familyv1.ServiceInstance {
	return &familyv1.ServiceInstance{
		ServiceName: i.Service, ServiceId: i.ID, Address: i.Address, Port: int32(i.Port),
		Status: status(i), Metadata: i.Metadata,
		// A time that is not known is the year 1 here, as clients expect.
		RegisteredAt: timestamppb.New(i.RegisteredAt), LastHealthCheck: timestamppb.New(h.heard(i)),
	}
}
