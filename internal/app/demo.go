package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/lifecycle"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
)

const (
	unitDemo = "demo"
	// demoID begins the id of each instance of the demo: what a killed node left behind is taken over.
	demoID = "demo-"
	// demoJoin is how long the node's readiness may wait for the demo to be registered.
	demoJoin = 2 * time.Second
	// demoLeave bounds the farewell of the demo's instances.
	demoLeave = 3 * time.Second
)

// demo is a few small services in this process, which listen, register and are found as any program is,
// and a trickle of requests to them through the gateway.
type demo struct {
	discovery mesh.Discovery
	gateway   string // the URL below which services are found, with a slash at its end
	log       *slog.Logger
}

func (a *App) newDemo() (*demo, error) {
	prefix, err := route.NormalPrefix(a.cfg.RoutePrefix)
	if err != nil {
		return nil, err
	}
	addr := pointer.Reachable(a.listeners[listenGateway].Addr().String())
	return &demo{discovery: a.discovery, gateway: "http://" + addr + prefix, log: a.log(unitDemo)}, nil
}

// Run serves the demo until ctx ends, and takes every instance back. It may be called again.
func (d *demo) Run(ctx context.Context, ready func()) error {
	// As toska run would call, from this machine and with the service token.
	ctx = identity.NewContext(ctx, identity.Caller{Role: identity.Service, Addr: netip.AddrFrom4([4]byte{127, 0, 0, 1})})
	client := newDemoClient(d.gateway)
	defer client.close()
	cast := newDemoCast(client)
	if err := d.undisputed(ctx, cast); err != nil {
		return err
	}
	// The services outlast the requests to them and their registration.
	serving, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	servers := lifecycle.NewGroup(serving, d.log)
	err := d.listen(ctx, servers, cast)
	if err == nil {
		err = d.perform(ctx, servers.Context(), cast, client, ready)
	}
	hangUp()
	return errors.Join(err, servers.Wait())
}

// undisputed refuses to put the demo beside services of the same names that somebody means: a part of
// their requests would be answered with inventions.
func (d *demo) undisputed(ctx context.Context, cast []*demoInstance) error {
	snap, err := d.discovery.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("look for services of the demo's names: %w", err)
	}
	for _, one := range cast {
		for _, other := range snap.Services[mesh.ServiceKey(one.service)] {
			if !strings.HasPrefix(other.ID, demoID) {
				return &mesh.Error{Kind: mesh.ErrConflict, Code: mesh.CodeConflict, Detail: fmt.Sprintf(
					"the demo would add made-up instances to the service %s, which has an instance %s of its own; "+
						"leave --demo out, or give it a --data directory of its own", one.service, other.ID)}
			}
		}
	}
	return nil
}

// listen gives each instance a port and serves it until the group's context ends.
func (d *demo) listen(ctx context.Context, servers *lifecycle.Group, cast []*demoInstance) error {
	for _, one := range cast {
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("listen for %s: %w", one.id, err)
		}
		ap, err := netip.ParseAddrPort(ln.Addr().String())
		if err != nil {
			return errors.Join(fmt.Errorf("listen for %s: %w", one.id, err), ln.Close())
		}
		one.port = int(ap.Port())
		srv := httpapi.NewServer(one.handler, d.log)
		servers.Go(one.id, func(ctx context.Context) error { return srv.Serve(ctx, ln, stopGrace) })
	}
	return nil
}

// perform registers the instances and sends them requests until ctx ends or one of them cannot be
// served any more, and takes them back.
func (d *demo) perform(ctx, served context.Context, cast []*demoInstance, client *demoClient, ready func()) error {
	living, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(served, end)()
	members := lifecycle.NewGroup(living, d.log)
	keepers := make([]*toska.Keeper, len(cast))
	for i, one := range cast {
		keepers[i] = toska.NewKeeper(d.discovery, one.registration(), slog.New(warnings{d.log.Handler()}))
		members.Go(one.id, func(ctx context.Context) error { return d.keep(ctx, keepers[i]) })
	}
	d.awaitRegistered(members.Context(), keepers)
	if members.Context().Err() == nil {
		d.log.Info("demo runs: services and requests are made up",
			"services", strings.Join(demoServices(cast), ","), "user_agent", demoAgent)
		ready()
	}
	members.Go("traffic", func(ctx context.Context) error { return client.run(ctx, members) })
	err := members.Wait()
	d.leave(context.WithoutCancel(ctx), keepers)
	return err
}

// keep keeps one instance registered, unless somebody wants it otherwise.
func (d *demo) keep(ctx context.Context, k *toska.Keeper) error {
	err := k.Run(ctx)
	if errors.Is(err, mesh.ErrNotFound) || errors.Is(err, mesh.ErrStale) {
		d.log.Info("instance of the demo stays out", "instance", k.ID(), "why", err)
		return nil
	}
	return err
}

// awaitRegistered waits until all are registered, for a bounded time: a store that takes nothing must
// not keep the node from being ready.
func (d *demo) awaitRegistered(ctx context.Context, keepers []*toska.Keeper) {
	ctx, cancel := context.WithTimeout(ctx, demoJoin)
	defer cancel()
	for _, k := range keepers {
		select {
		case <-k.Registered():
		case <-ctx.Done():
			return
		}
	}
}

// leave deregisters the instances: a node that starts without the demo shows nothing of it.
func (d *demo) leave(ctx context.Context, keepers []*toska.Keeper) {
	ctx, cancel := context.WithTimeout(ctx, demoLeave)
	defer cancel()
	leaving := lifecycle.NewGroup(ctx, d.log)
	for _, k := range keepers {
		leaving.Go(k.ID(), func(ctx context.Context) error {
			if err := k.Deregister(ctx); err != nil {
				d.log.Warn("instance could not be deregistered; it goes when its lease lapses", "instance", k.ID(), "error", err)
			}
			return nil
		})
	}
	_ = leaving.Wait() // each told by itself
}

func demoServices(cast []*demoInstance) []string {
	var names []string
	for _, one := range cast {
		names = append(names, one.service)
	}
	return slices.Compact(names)
}

// warnings is a handler without the records that only say that all goes well: one line tells of the
// whole demo.
type warnings struct{ slog.Handler }

// Enabled implements slog.Handler.
func (w warnings) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && w.Handler.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler.
func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }
