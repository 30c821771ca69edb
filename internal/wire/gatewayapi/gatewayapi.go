// Package gatewayapi carries the mesh.Routing contract over a node's control port: described REST, and
// a Client that satisfies the same contract at the other end.
//
// # Concurrency
//
// Handlers and Client are safe for concurrent use, and start no goroutine.
package gatewayapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	routesPath    = "/api/v1/routes"
	upstreamsPath = "/api/v1/upstreams"
)

// Mount adds GET /api/v1/routes and GET /api/v1/upstreams to api, over r.
func Mount(api *httpapi.API, r mesh.Routing) {
	httpapi.Handle(api, huma.Operation{Method: http.MethodGet, Path: routesPath, OperationID: "list-routes",
		Summary: "List the gateway's routes", Tags: []string{"gateway"}},
		func(ctx context.Context, _ *struct{}) (*struct{ Body restRoutes }, error) {
			routes, err := r.Routes(ctx)
			if err != nil {
				return nil, err
			}
			return &struct{ Body restRoutes }{toREST(routes)}, nil
		})
	httpapi.Handle(api, huma.Operation{Method: http.MethodGet, Path: upstreamsPath, OperationID: "list-upstreams",
		Summary: "List what the gateway picks from, and what it has seen of it", Tags: []string{"gateway"}},
		func(ctx context.Context, in *struct {
			Service string `query:"service" doc:"One service, without case; all by default."`
		}) (*struct{ Body restUpstreams }, error) {
			upstreams, err := r.Upstreams(ctx, in.Service)
			if err != nil {
				return nil, err
			}
			return &struct{ Body restUpstreams }{upstreamsToREST(upstreams)}, nil
		})
}
