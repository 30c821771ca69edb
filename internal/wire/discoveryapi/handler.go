package discoveryapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"connectrpc.com/connect"

	discoveryv1 "github.com/toska-mesh/toska-mesh/api/discovery/v1"
	"github.com/toska-mesh/toska-mesh/api/discovery/v1/discoveryv1connect"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// compressFrom is the size from which an answer is worth compressing for a client that asks for it.
const compressFrom = 64 << 10

// Options are the rare things of a handler.
type Options struct {
	// Members returns the control addresses of the nodes that a session's client may turn to when this
	// one is gone. It may be nil.
	Members func() []string
	// Log takes failures of the node's own; nil for none.
	Log *slog.Logger
}

// Mount adds the RPCs to mux and the REST operations to api, both over d. Callers and access are those
// of httpapi.Guard.
func Mount(mux *http.ServeMux, api *httpapi.API, d mesh.Discovery, opt Options) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Members == nil {
		opt.Members = func() []string { return nil }
	}
	path, h := discoveryv1connect.NewDiscoveryHandler(&handler{d: d, members: opt.Members},
		connect.WithInterceptors(httpapi.NewInterceptor(may, opt.Log)),
		connect.WithCodec(httpapi.StrictJSON{}), connect.WithReadMaxBytes(httpapi.MaxBody), connect.WithCompressMinBytes(compressFrom))
	mux.Handle(path, withWriter(h))
	mountREST(api, d)
}

// may admits callers by what the procedure does.
func may(ctx context.Context, procedure string) error {
	switch procedure {
	case discoveryv1connect.DiscoveryGetProcedure, discoveryv1connect.DiscoveryListProcedure,
		discoveryv1connect.DiscoveryWatchProcedure:
		return httpapi.MayRead(ctx)
	}
	return httpapi.MayWrite(ctx)
}

// handler translates RPCs to the contract.
type handler struct {
	d       mesh.Discovery
	members func() []string
}

var _ discoveryv1connect.DiscoveryHandler = (*handler)(nil)

// Register implements discoveryv1connect.DiscoveryHandler.
func (h *handler) Register(ctx context.Context, req *discoveryv1.RegisterRequest) (*discoveryv1.RegisterResponse, error) {
	r := fromProtoRegistration(req.GetRegistration())
	if err := registry.Validate(r, registry.LabelNames); err != nil {
		return nil, err
	}
	i, err := h.d.Register(ctx, r)
	if err != nil {
		return nil, err
	}
	return &discoveryv1.RegisterResponse{Instance: toProtoInstance(&i)}, nil
}

// Renew implements discoveryv1connect.DiscoveryHandler.
func (h *handler) Renew(ctx context.Context, req *discoveryv1.RenewRequest) (*discoveryv1.RenewResponse, error) {
	ref, err := fromProtoRef(req.GetRef())
	if err != nil {
		return nil, err
	}
	return &discoveryv1.RenewResponse{}, h.d.Renew(ctx, ref)
}

// Report implements discoveryv1connect.DiscoveryHandler.
func (h *handler) Report(ctx context.Context, req *discoveryv1.ReportRequest) (*discoveryv1.ReportResponse, error) {
	ref, err := fromProtoRef(req.GetRef())
	if err != nil {
		return nil, err
	}
	rep, err := fromProtoVerdict(req.GetVerdict())
	if err != nil {
		return nil, err
	}
	return &discoveryv1.ReportResponse{}, h.d.Report(ctx, ref, rep)
}

// Drain implements discoveryv1connect.DiscoveryHandler.
func (h *handler) Drain(ctx context.Context, req *discoveryv1.DrainRequest) (*discoveryv1.DrainResponse, error) {
	ref, err := fromProtoRef(req.GetRef())
	if err != nil {
		return nil, err
	}
	return &discoveryv1.DrainResponse{}, h.d.Drain(ctx, ref)
}

// Deregister implements discoveryv1connect.DiscoveryHandler.
func (h *handler) Deregister(ctx context.Context, req *discoveryv1.DeregisterRequest) (*discoveryv1.DeregisterResponse, error) {
	ref, err := fromProtoRef(req.GetRef())
	if err != nil {
		return nil, err
	}
	return &discoveryv1.DeregisterResponse{}, h.d.Deregister(ctx, ref)
}

// Get implements discoveryv1connect.DiscoveryHandler.
func (h *handler) Get(ctx context.Context, req *discoveryv1.GetRequest) (*discoveryv1.GetResponse, error) {
	if req.GetId() == "" {
		return nil, wrongField("id", "is required")
	}
	i, err := h.d.Instance(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return &discoveryv1.GetResponse{Instance: toProtoInstance(&i)}, nil
}

// List implements discoveryv1connect.DiscoveryHandler.
func (h *handler) List(ctx context.Context, req *discoveryv1.ListRequest) (*discoveryv1.ListResponse, error) {
	s, err := h.d.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	whole, _ := (&differ{service: req.GetService()}).next(s)
	return &discoveryv1.ListResponse{Revision: s.Revision.String(), Stale: s.Stale,
		Services: toProtoServices(whole.services)}, nil
}

// Watch implements discoveryv1connect.DiscoveryHandler.
func (h *handler) Watch(ctx context.Context, req *discoveryv1.WatchRequest, stream *connect.ServerStream[discoveryv1.WatchResponse]) error {
	since, err := mesh.ParseRevision(req.GetSince())
	if err != nil {
		return err
	}
	ctx, cancel := httpapi.UntilStop(ctx)
	defer cancel()
	// The fields of the answer go out at once: a watcher that waits knows that it is heard.
	if err := stream.Send(nil); err != nil {
		return err
	}
	d := differ{service: req.GetService()}
	for s, err := range h.d.Watch(ctx, since) {
		if err != nil {
			return ended(ctx, err)
		}
		c, news := d.next(s)
		if !news {
			continue
		}
		if err := stream.Send(c.message()); err != nil {
			return err
		}
	}
	return ended(ctx, nil)
}

// ended explains the end of a stream: by the server's stop if that was the reason.
func ended(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), httpapi.ErrStopping) {
		return stopping()
	}
	if err == nil {
		err = ctx.Err()
	}
	return err
}

func stopping() error {
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable,
		Detail: "the node is stopping; go on with another one, or with this one once it is back"}
}
