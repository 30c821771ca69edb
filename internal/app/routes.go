package app

import (
	"cmp"
	"context"

	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Routes implements mesh.Routing.
func (a *App) Routes(context.Context) ([]mesh.RouteStatus, error) {
	if a.gateway == nil || !a.running.Load() {
		return nil, &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: "no gateway runs here yet"}
	}
	specs, refused := a.gateway.Routes()
	out := make([]mesh.RouteStatus, 0, len(specs)+len(refused))
	for i := range specs {
		s := &specs[i]
		out = append(out, mesh.RouteStatus{
			Name: s.Name, Hosts: s.Hosts, Path: pattern(s), Methods: s.Methods, Service: s.Service,
			Origin: s.Origin.String(), State: mesh.RouteInForce,
		})
	}
	for _, r := range refused {
		if r.Kind == "route" {
			out = append(out, mesh.RouteStatus{
				Name: r.Name, Origin: r.Origin.String(), State: mesh.RouteQuarantined, Reason: r.Reason,
			})
		}
	}
	return out, nil
}

// pattern is a route's path as text.
func pattern(s *route.Spec) string {
	switch {
	case s.Exact != "":
		return s.Exact
	case s.Prefix == "" || s.Prefix[len(s.Prefix)-1] == '/':
		return cmp.Or(s.Prefix, "/") + "…"
	}
	return s.Prefix + "/…"
}
