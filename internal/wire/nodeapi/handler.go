package nodeapi

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"github.com/danielgtaylor/huma/v2"

	nodev1 "github.com/toska-mesh/toska-mesh/api/node/v1"
	"github.com/toska-mesh/toska-mesh/api/node/v1/nodev1connect"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Mount adds the RPC to mux and GET /api/v1/status to api, both over node. A nil log is silent.
func Mount(mux *http.ServeMux, api *httpapi.API, node mesh.Node, log *slog.Logger) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	read := func(ctx context.Context, _ string) error { return httpapi.MayRead(ctx) }
	path, h := nodev1connect.NewNodeHandler(&handler{node},
		connect.WithInterceptors(httpapi.NewInterceptor(read, log)), connect.WithReadMaxBytes(httpapi.MaxBody))
	mux.Handle(path, h)
	httpapi.Handle(api, huma.Operation{Method: http.MethodGet, Path: "/api/v1/status", OperationID: "get-status",
		Summary: "Get the node's status", Tags: []string{"node"}},
		func(ctx context.Context, _ *struct{}) (*struct{ Body restStatus }, error) {
			st, err := node.Status(ctx)
			if err != nil {
				return nil, err
			}
			return &struct{ Body restStatus }{toREST(st)}, nil
		})
}

type handler struct{ node mesh.Node }

// GetStatus implements nodev1connect.NodeHandler.
func (h *handler) GetStatus(ctx context.Context, _ *nodev1.GetStatusRequest) (*nodev1.GetStatusResponse, error) {
	st, err := h.node.Status(ctx)
	if err != nil {
		return nil, err
	}
	return toProto(st), nil
}

// restStatus is mesh.Status in JSON.
type restStatus struct {
	NodeID    string            `json:"nodeId"`
	Version   string            `json:"version"`
	PID       int               `json:"pid"`
	DataDir   string            `json:"dataDir"`
	StartedAt time.Time         `json:"startedAt"`
	Addresses map[string]string `json:"addresses" doc:"Of those of gateway, control and discovery that listen, as host:port."`
	Ready     bool              `json:"ready" doc:"Every role that runs here is ready."`
	Roles     []restRole        `json:"roles" doc:"In the order of their start."`
	Registry  restRegistry      `json:"registry"`
	Table     *restTable        `json:"table,omitempty" doc:"Of the gateway, where there is one."`
	Config    *restConfig       `json:"config,omitempty" doc:"The configuration file, where there is a place for one."`
	Alarms    []restAlarm       `json:"alarms" doc:"Conditions to act on."`
}

type restRole struct {
	Name     string    `json:"name"`
	State    string    `json:"state" enum:"starting,ready,restarting,stopping,stopped,failed"`
	Since    time.Time `json:"since"`
	Restarts int       `json:"restarts"`
	Reason   string    `json:"reason,omitempty" doc:"Why it last failed."`
}

type restRegistry struct {
	Revision  string `json:"revision"`
	Services  int    `json:"services"`
	Instances int    `json:"instances"`
	Sessions  int    `json:"sessions"`
	Stale     bool   `json:"stale" doc:"The store cannot be reached."`
}

type restTable struct {
	Revision  string    `json:"revision"`
	Routes    int       `json:"routes"`
	Services  int       `json:"services"`
	Endpoints int       `json:"endpoints"`
	BuiltAt   time.Time `json:"builtAt"`
	Stale     bool      `json:"stale" doc:"The table comes from disk: the registry has not been heard since the start."`
}

type restConfig struct {
	Path     string    `json:"path"`
	State    string    `json:"state" enum:"none,in force,last good" doc:"Last good: the file as it is now is not in force, an earlier one is."`
	LoadedAt time.Time `json:"loadedAt,omitzero"`
}

type restAlarm struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func toREST(st mesh.Status) restStatus {
	out := restStatus{NodeID: st.NodeID, Version: st.Version, PID: st.PID, DataDir: st.DataDir,
		StartedAt: st.StartedAt, Addresses: st.Addresses, Ready: st.Ready,
		Roles: make([]restRole, 0, len(st.Roles)), Alarms: make([]restAlarm, 0, len(st.Alarms)),
		Registry: restRegistry{Revision: st.Registry.Revision.String(), Services: st.Registry.Services,
			Instances: st.Registry.Instances, Sessions: st.Registry.Sessions, Stale: st.Registry.Stale}}
	if out.Addresses == nil {
		out.Addresses = map[string]string{}
	}
	for _, r := range st.Roles {
		out.Roles = append(out.Roles, restRole(r))
	}
	for _, a := range st.Alarms {
		out.Alarms = append(out.Alarms, restAlarm(a))
	}
	if c := st.Config; c != (mesh.ConfigStatus{}) {
		out.Config = new(restConfig(c))
	}
	if t := st.Table; t != nil {
		out.Table = &restTable{Revision: t.Revision.String(), Routes: t.Routes, Services: t.Services, Endpoints: t.Endpoints, BuiltAt: t.BuiltAt, Stale: t.Stale}
	}
	return out
}
