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

const routesPath = "/api/v1/routes"

// Mount adds GET /api/v1/routes to api, over r.
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
}

// restRoutes is the answer.
type restRoutes struct {
	Routes []restRoute `json:"routes" doc:"Those in force, in the order in which they are tried, then those that are quarantined."`
}

// restRoute is mesh.RouteStatus in JSON.
type restRoute struct {
	Name    string   `json:"name"`
	Hosts   []string `json:"hosts" doc:"Hosts that it takes; none takes every host."`
	Path    string   `json:"path" doc:"Pattern as text: /orders for one path, /orders/… for it and all below it." example:"/orders/…"`
	Methods []string `json:"methods" doc:"Methods that it takes; none takes all."`
	Service string   `json:"service" doc:"Service that answers."`
	Origin  string   `json:"origin" doc:"Where it was written." example:"mesh.yaml:21:5"`
	State   string   `json:"state" enum:"in force,quarantined"`
	Reason  string   `json:"reason,omitempty" doc:"Why it is quarantined."`
}

func toREST(routes []mesh.RouteStatus) restRoutes {
	out := restRoutes{Routes: make([]restRoute, 0, len(routes))}
	for _, r := range routes {
		one := restRoute(r)
		// An empty list is a list.
		one.Hosts, one.Methods = append([]string{}, r.Hosts...), append([]string{}, r.Methods...)
		out.Routes = append(out.Routes, one)
	}
	return out
}

func fromREST(in restRoutes) []mesh.RouteStatus {
	var out []mesh.RouteStatus
	for _, r := range in.Routes {
		one := mesh.RouteStatus(r)
		if len(r.Hosts) == 0 {
			one.Hosts = nil
		}
		if len(r.Methods) == 0 {
			one.Methods = nil
		}
		out = append(out, one)
	}
	return out
}
