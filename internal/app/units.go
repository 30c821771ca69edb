package app

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/toska-mesh/toska-mesh/docs"
	"github.com/toska-mesh/toska-mesh/internal/lifecycle"
	"github.com/toska-mesh/toska-mesh/internal/role/discovery"
	"github.com/toska-mesh/toska-mesh/internal/role/gateway"
	"github.com/toska-mesh/toska-mesh/internal/wire/dashboardapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/familyapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/gatewayapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/healthapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/metricsapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/nodeapi"
)

// stopGrace is how long the requests of the control plane may take when the node stops.
const stopGrace = 5 * time.Second

// unitStore is the unit of the registry's store.
const unitStore = "store"

// units is the table of what runs here: each part with what it needs and wants. The gateway only wants
// discovery, and nothing but the demo needs the gateway: it drains first.
func (a *App) units() ([]lifecycle.Unit, error) {
	var units []lifecycle.Unit
	add := func(u lifecycle.Unit) {
		if a.cfg.Wrap != nil {
			u.Run = a.cfg.Wrap(u.Name, u.Run)
		}
		units = append(units, u)
	}
	if err := a.newSignals(); err != nil {
		return nil, err
	}
	gatewayWants := []string{RoleDiscovery, listenControl}
	if a.spans != nil {
		add(lifecycle.Unit{Name: "spans", Run: a.spans.Run})
		gatewayWants = append(gatewayWants, "spans")
	}
	if a.cfg.runs(RoleDiscovery) {
		role, err := a.newDiscovery()
		if err != nil {
			return nil, err
		}
		a.discovery = role
		a.series.Registry(a.registrySeries)
		// Discovery waits for the store by itself, so that what wants discovery need not.
		add(lifecycle.Unit{Name: unitStore, Run: a.runStore})
		add(lifecycle.Unit{Name: RoleDiscovery, Wants: []string{unitStore}, Run: role.Run})
		if a.cfg.runs(RoleHealth) {
			if a.health, err = a.newHealth(); err != nil {
				return nil, err
			}
			a.series.Probes(a.probeSeries)
			add(lifecycle.Unit{Name: RoleHealth, Wants: []string{RoleDiscovery}, Run: a.health.Run})
		}
		add(lifecycle.Unit{
			Name: "discovery-listener", Wants: []string{RoleDiscovery},
			Run: a.server(listenDiscovery, a.discoveryHandler()),
		})
	}
	add(lifecycle.Unit{Name: "certificates", Run: a.followTrust})
	if a.cfg.ConfigFile != "" {
		add(lifecycle.Unit{Name: "configuration", Run: a.followConfig})
		gatewayWants = append(gatewayWants, "configuration")
	} else if a.cfg.Reload != nil {
		add(lifecycle.Unit{Name: "access log rotation", Run: a.followRotation})
	}
	control := a.server(listenControl, a.controlHandler())
	add(lifecycle.Unit{Name: listenControl, Wants: []string{RoleDiscovery}, Run: func(ctx context.Context, ready func()) error {
		return control(ctx, func() {
			a.findable()
			ready()
		})
	}})
	if a.cfg.runs(RoleGateway) {
		role, err := a.newGateway()
		if err != nil {
			return nil, err
		}
		a.gateway = role
		a.series.Upstreams(role.UpstreamSeries)
		add(lifecycle.Unit{Name: RoleGateway, Wants: gatewayWants, Run: role.Run})
	}
	if a.cfg.Demo {
		d, err := a.newDemo()
		if err != nil {
			return nil, err
		}
		add(lifecycle.Unit{Name: unitDemo, Needs: []string{RoleDiscovery, RoleGateway}, Run: d.Run})
	}
	return units, nil
}

func (a *App) newDiscovery() (*discovery.Discovery, error) {
	cfg := discovery.DefaultConfig()
	cfg.NodeID = a.dir.NodeID()
	cfg.OwnListeners = a.listeners.addrPorts
	return discovery.New(cfg, &a.store, a.log(RoleDiscovery))
}

func (a *App) newGateway() (*gateway.Gateway, error) {
	cfg := gateway.DefaultConfig()
	cfg.Prefix = a.cfg.RoutePrefix
	if f := a.cfg.File; f != nil {
		cfg.Limits.Fields = cmp.Or(f.Limits.Fields, cfg.Limits.Fields)
		cfg.Limits.FieldBytes = cmp.Or(f.Limits.FieldBytes, cfg.Limits.FieldBytes)
		cfg.Limits.HeadBytes = cmp.Or(f.Limits.HeadBytes, cfg.Limits.HeadBytes)
	}
	signals := gateway.Signals{AccessLog: a.access, Series: a.series.Exchanges, Sampler: a.sampler}
	if a.spans != nil {
		signals.Spans = a.spans
	}
	listeners, internal := a.served()
	role, err := gateway.New(cfg, gateway.Ports{
		Discovery: a.registry(), Listeners: listeners, TLS: a.trust.config, Internal: internal,
		Signals: signals, Saved: a.table(), Log: a.log(RoleGateway),
	})
	if err != nil {
		return nil, err
	}
	a.refusedSeries(role)
	role.Configure(a.setOf(a.cfg.File))
	return role, nil
}

// internalHandler serves what a port of the gateway answers by itself.
func (a *App) internalHandler(l httpapi.Listener) http.Handler {
	mux := http.NewServeMux()
	log := a.log(RoleGateway)
	httpapi.MountHealth(mux, gatewayNode{a}, nil)
	metricsapi.Mount(mux, a.series.Gatherer(), a.openDashboard(), log)
	a.mountDashboard(mux, a.openDashboard(), log)
	return httpapi.Handler(mux, l, a.verifier, log)
}

// controlHandler serves everything on one port.
func (a *App) controlHandler() http.Handler {
	mux := http.NewServeMux()
	log := a.log(listenControl)
	api := httpapi.NewAPI(mux, a.cfg.Version, log)
	nodeapi.Mount(mux, api, a, log)
	if a.cfg.runs(RoleGateway) {
		gatewayapi.Mount(api, a)
	}
	if a.health != nil {
		healthapi.Mount(api, a.health)
	}
	httpapi.MountHealth(mux, a, nil)
	httpapi.MountErrorPages(mux, docs.ErrorPage)
	metricsapi.Mount(mux, a.series.Gatherer(), false, log)
	metricsapi.MountProfiles(mux)
	if a.discovery != nil {
		discoveryapi.Mount(mux, api, a.discovery, discoveryapi.Options{Log: log})
		a.mountFamily(mux, log, discoveryapi.ServiceName, nodeapi.ServiceName)
		a.mountDashboard(mux, false, log)
	} else {
		discoveryapi.Mount(mux, api, a.registry(), discoveryapi.Options{Log: log})
	}
	l := a.listeners.describe(listenControl, a.cfg.ListenControl, a.anonymous())
	l.ErrorPages = true
	return httpapi.Handler(mux, l, a.verifier, log)
}

// discoveryHandler serves the family's clients where they look for it.
func (a *App) discoveryHandler() http.Handler {
	mux := http.NewServeMux()
	log := a.log(listenDiscovery)
	a.mountFamily(mux, log)
	httpapi.MountHealth(mux, a, nil)
	return httpapi.Handler(mux, a.listeners.describe(listenDiscovery, a.cfg.ListenDiscovery, a.anonymous()), a.verifier, log)
}

func (a *App) mountDashboard(mux *http.ServeMux, anonymous bool, log *slog.Logger) {
	opt := dashboardapi.Options{Probing: a.probing(), Anonymous: anonymous, Log: log}
	if a.discovery != nil {
		opt.Liveness = a.discovery
	}
	dashboardapi.Mount(mux, a.registry(), opt)
}

func (a *App) mountFamily(mux *http.ServeMux, log *slog.Logger, reflect ...string) {
	familyapi.Mount(mux, a.discovery, familyapi.Options{
		Liveness: a.discovery, Metadata: a.discovery, Probing: a.probing(), Serving: a.serves(RoleDiscovery), Log: log, Reflect: reflect,
	})
}

// server returns the Run of a unit that serves a listener. The listener stays open when it ends, so
// that clients of one that is started again only wait.
func (a *App) server(name string, h http.Handler) func(ctx context.Context, ready func()) error {
	srv := httpapi.NewServer(h, a.log(name))
	return func(ctx context.Context, ready func()) error {
		kept := keptListener{a.listeners[name]}
		if err := kept.open(); err != nil {
			return err
		}
		ready()
		ln := net.Listener(kept)
		if cfg := a.serverTLS(name); cfg != nil {
			ln = tls.NewListener(kept, cfg)
		}
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
