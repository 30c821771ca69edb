package app

import (
	"context"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// Routes implements mesh.Routing.
func (a *App) Routes(context.Context) ([]mesh.RouteStatus, error) {
	if err := a.gatewayRuns(); err != nil {
		return nil, err
	}
	return a.gateway.RouteStatus(), nil
}

// Upstreams implements mesh.Routing.
func (a *App) Upstreams(_ context.Context, service string) ([]mesh.UpstreamStatus, error) {
	if err := a.gatewayRuns(); err != nil {
		return nil, err
	}
	return a.gateway.UpstreamStatus(service), nil
}

func (a *App) gatewayRuns() error {
	if a.gateway == nil || !a.running.Load() {
		return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: "no gateway runs here yet"}
	}
	return nil
}
