package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/lifecycle"
	"github.com/toska-mesh/toska-mesh/internal/role/discovery"
	"github.com/toska-mesh/toska-mesh/internal/role/gateway"
	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/familyapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/nodeapi"
)

// stopGrace is how long the requests of the control plane may take when the node stops.
const stopGrace = 5 * time.Second

// units is the table of what runs here: each part with what it needs and wants. The gateway only wants
// discovery, and nothing wants the gateway: it drains first.
func (a *App) units() ([]lifecycle.Unit, error) {
	var units []lifecycle.Unit
	add := func(u lifecycle.Unit) {
		if a.cfg.Wrap != nil {
			u.Run = a.cfg.Wrap(u.Name, u.Run)
		}
		units = append(units, u)
	}
	if a.cfg.runs(RoleDiscovery) {
		role, err := a.newDiscovery()
		if err != nil {
			return nil, err
		}
		a.discovery = role
		add(lifecycle.Unit{Name: "store", Run: a.watchEngine})
		add(lifecycle.Unit{Name: RoleDiscovery, Needs: []string{"store"}, Run: role.Run})
		add(lifecycle.Unit{Name: "discovery-listener", Wants: []string{RoleDiscovery},
			Run: a.server(listenDiscovery, a.discoveryHandler())})
	}
	add(lifecycle.Unit{Name: listenControl, Wants: []string{RoleDiscovery}, Run: a.server(listenControl, a.controlHandler())})
	if a.cfg.runs(RoleGateway) {
		role, err := a.newGateway()
		if err != nil {
			return nil, err
		}
		a.gateway = role
		add(lifecycle.Unit{Name: RoleGateway, Wants: []string{RoleDiscovery, listenControl}, Run: role.Run})
	}
	return units, nil
}

func (a *App) newDiscovery() (*discovery.Discovery, error) {
	cfg := discovery.DefaultConfig()
	cfg.NodeID = a.dir.NodeID()
	cfg.OwnListeners = a.listeners.addrPorts
	return discovery.New(cfg, a.engine.Store(), a.log(RoleDiscovery))
}

func (a *App) newGateway() (*gateway.Gateway, error) {
	cfg := gateway.DefaultConfig()
	cfg.Prefix = a.cfg.RoutePrefix
	mux := http.NewServeMux()
	httpapi.MountHealth(mux, gatewayNode{a}, nil)
	return gateway.New(cfg, gateway.Ports{
		Discovery: a.discovery, Listener: a.listeners[listenGateway],
		Internal:  httpapi.NewExchangeHandler(mux, a.listeners.describe(listenGateway, a.cfg.ListenGateway)),
		AccessLog: a.newAccessLog(), Log: a.log(RoleGateway),
	})
}

// watchEngine is ready from the start, the engine being open, and fails for good when it does.
func (a *App) watchEngine(ctx context.Context, ready func()) error {
	ready()
	select {
	case <-ctx.Done():
		return nil
	case <-a.engine.Done():
		return fmt.Errorf("%w: %w", lifecycle.ErrPermanent, a.engine.Failed())
	}
}

// controlHandler serves everything on one port.
func (a *App) controlHandler() http.Handler {
	mux := http.NewServeMux()
	log := a.log(listenControl)
	api := httpapi.NewAPI(mux, a.cfg.Version, log)
	nodeapi.Mount(mux, api, a, log)
	httpapi.MountHealth(mux, a, nil)
	if a.discovery != nil {
		discoveryapi.Mount(mux, api, a.discovery, discoveryapi.Options{Log: log})
		familyapi.Mount(mux, a.discovery, familyapi.Options{
			Liveness: a.discovery, Serving: a.serves(RoleDiscovery), Log: log,
			Reflect: []string{discoveryapi.ServiceName, nodeapi.ServiceName},
		})
	}
	return httpapi.Handler(mux, a.listeners.describe(listenControl, a.cfg.ListenControl), a.verifier, log)
}

// discoveryHandler serves the family's clients where they look for it.
func (a *App) discoveryHandler() http.Handler {
	mux := http.NewServeMux()
	log := a.log(listenDiscovery)
	familyapi.Mount(mux, a.discovery, familyapi.Options{Liveness: a.discovery, Serving: a.serves(RoleDiscovery), Log: log})
	httpapi.MountHealth(mux, a, nil)
	return httpapi.Handler(mux, a.listeners.describe(listenDiscovery, a.cfg.ListenDiscovery), a.verifier, log)
}

// server returns the Run of a unit that serves a listener. The listener stays open when it ends, so
// that clients of one that is started again only wait.
func (a *App) server(name string, h http.Handler) func(ctx context.Context, ready func()) error {
	srv := httpapi.NewServer(h, a.log(name))
	return func(ctx context.Context, ready func()) error {
		ln := keptListener{a.listeners[name]}
		if err := ln.open(); err != nil {
			return err
		}
		ready()
		return srv.Serve(ctx, ln, stopGrace)
	}
}

// keptListener is a listener that its server cannot close: closing wakes a blocked Accept, no more.
type keptListener struct{ net.Listener }

// open undoes Close.
func (l keptListener) open() error { return l.wake(time.Time{}) }

// Close implements net.Listener.
func (l keptListener) Close() error { return l.wake(time.Unix(1, 0)) }

func (l keptListener) wake(at time.Time) error {
	if d, ok := l.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		return d.SetDeadline(at)
	}
	return nil
}
