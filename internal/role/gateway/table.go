package gateway

import (
	"context"
	"maps"
	"net/netip"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Saved is where the last good snapshot lies when the registry is away.
type Saved interface {
	// Load returns what was saved last; nil without an error when there is nothing.
	Load() (*mesh.Snapshot, error)
	// Save replaces it.
	Save(*mesh.Snapshot) error
}

const (
	// watchAgain is how long to wait before a watch that ended is begun anew.
	watchAgain = 250 * time.Millisecond
	// saveAgain is how often the snapshot is written at the most.
	saveAgain = time.Second
)

// source is what the current table was built from. All of it is guarded by Gateway.mu.
type source struct {
	snap  *mesh.Snapshot
	set   *route.Set
	stale bool
	// orphans are services of a registry that was lost: they stay until their instances had the time of a
	// lease to register with the new one.
	orphans map[string][]*mesh.Instance
	until   time.Time
}

// Configure puts what is configured in force, with the snapshot as it is. A service whose entry is refused
// keeps its last good one.
func (g *Gateway) Configure(set *route.Set) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.warn(g.source.set, set)
	set = set.Keeping(g.source.set)
	g.source.set = set
	if g.source.snap != nil {
		g.rebuild()
	}
}

// warn tells of routes that take the place of services under the prefix, and were not told of before.
func (g *Gateway) warn(last, set *route.Set) {
	told := map[string]bool{}
	if last != nil {
		for _, w := range last.Warnings(g.cfg.Prefix) {
			told[w.Name+w.Text] = true
		}
	}
	for _, w := range set.Warnings(g.cfg.Prefix) {
		if !told[w.Name+w.Text] {
			g.ports.Log.Warn("route takes more than its own", "route", w.Name, "origin", w.Origin.String(), "problem", w.Text)
		}
	}
}

// follow builds a table from each snapshot. While discovery is away the last table stays in force, and
// before discovery was ever heard the one that was saved.
func (g *Gateway) follow(ctx context.Context, ready func()) error {
	if g.table.Load() == nil {
		g.loadSaved()
	}
	told := false
	tell := func() {
		if !told && g.table.Load() != nil {
			told = true
			g.ready.Store(true)
			ready()
		}
	}
	tell() // a table from before is as good as a new one
	for ctx.Err() == nil {
		for snap, err := range g.ports.Discovery.Watch(ctx, g.since()) {
			if err != nil {
				g.ports.Log.Warn("discovery lost, last table stays in force", "revision", g.since(), "error", err)
				break
			}
			g.take(snap)
			tell()
		}
		if !pause(ctx, watchAgain) {
			break
		}
	}
	return nil
}

// since is the revision of the registry that was seen last; that of a saved table does not count.
func (g *Gateway) since() mesh.Revision {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.source.snap == nil || g.source.stale {
		return mesh.Revision{}
	}
	return g.source.snap.Revision
}

func (g *Gateway) loadSaved() {
	if g.ports.Saved == nil {
		return
	}
	snap, err := g.ports.Saved.Load()
	if err != nil {
		g.ports.Log.Warn("saved table cannot be used", "error", err)
	}
	if snap == nil {
		return
	}
	g.ports.Log.Info("serving the table of the last run until discovery answers", "revision", snap.Revision)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.source.snap, g.source.stale = snap, true
	g.rebuild()
}

// take puts a snapshot in force. One of a store that is being opened knows nothing yet, and one of
// another epoch comes from a store that lost what was there before.
func (g *Gateway) take(snap *mesh.Snapshot) {
	if snap.Stale && snap.Revision.IsZero() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if last := g.source.snap; last != nil && last.Revision.Epoch != snap.Revision.Epoch {
		g.adopt(last, snap)
	}
	if g.source.stale {
		g.ports.Log.Info("table is fresh again", "revision", snap.Revision)
	}
	g.source.snap, g.source.stale = snap, false
	g.rebuild()
	select {
	case g.unsaved <- struct{}{}:
	default:
	}
}

// adopt keeps the services that a new registry does not know.
func (g *Gateway) adopt(last, snap *mesh.Snapshot) {
	orphans := map[string][]*mesh.Instance{}
	for key, instances := range last.Services {
		if len(snap.Services[key]) == 0 {
			orphans[key] = instances
		}
	}
	if len(orphans) > 0 {
		g.source.orphans, g.source.until = orphans, time.Now().Add(mesh.LeaseTTL)
		g.ports.Log.Warn("registry begins anew, services that it does not know stay for a lease", "services", len(orphans))
	}
}

// rebuild makes the table of what the source has, and swaps it. Exchanges that matched in the old one
// go on with it. It is called with mu held.
func (g *Gateway) rebuild() {
	snap := g.source.snap
	if len(g.source.orphans) > 0 {
		if time.Now().After(g.source.until) {
			g.source.orphans = nil
		} else {
			with := *snap
			with.Services = maps.Clone(g.source.orphans)
			maps.Copy(with.Services, snap.Services)
			snap = &with
		}
	}
	prev := g.table.Load()
	next := route.Build(prev, route.Input{
		Prefix: g.cfg.Prefix, Snapshot: snap, Set: g.source.set, Stale: g.source.stale,
		Ejected: g.noteEjection,
	}, g.proxy.Open)
	g.table.Store(next)
	next.Abandoned(prev, upstream.Connections.Close)
	g.proxy.Review(next)
}

// save writes the newest snapshot after it changed, and at the end.
func (g *Gateway) save(ctx context.Context) error {
	for {
		select {
		case <-g.unsaved:
		case <-ctx.Done():
			return nil
		}
		g.mu.Lock()
		snap := g.source.snap
		g.mu.Unlock()
		if err := g.ports.Saved.Save(snap); err != nil {
			g.ports.Log.Warn("table could not be saved", "error", err)
		}
		if !pause(ctx, saveAgain) {
			return nil
		}
	}
}

// sweep closes links that nobody uses any more, and forgets what is gone.
func (g *Gateway) sweep(ctx context.Context) error {
	for pause(ctx, 10*time.Second) {
		t := g.table.Load()
		if t == nil {
			continue
		}
		now := time.Now()
		known := map[string]map[string]bool{}
		t.Each(func(u *upstream.Upstream, e *upstream.Endpoint) {
			e.Connections.Sweep(now)
			if known[u.Service] == nil {
				known[u.Service] = map[string]bool{"": true}
			}
			known[u.Service][e.Addr] = true
		})
		g.observer.Sweep(func(service, endpoint string) bool { return known[service][endpoint] })
		g.mu.Lock()
		if len(g.source.orphans) > 0 && now.After(g.source.until) {
			g.rebuild()
		}
		g.proxy.Review(g.table.Load()) // ejections come and go without a table
		g.mu.Unlock()
	}
	return nil
}

// trusts reports whether a peer is one of the trusted proxies.
func (g *Gateway) trusts(peer netip.Addr) bool {
	t := g.table.Load()
	if t == nil {
		return false
	}
	for _, network := range t.Set().TrustedProxies {
		if network.Contains(peer) {
			return true
		}
	}
	return false
}

// RouteStatus tells of the routes; nil before the first table.
func (g *Gateway) RouteStatus() []mesh.RouteStatus {
	t := g.table.Load()
	if t == nil {
		return nil
	}
	return t.Status()
}

// UpstreamStatus tells of the upstream of one service, without case, or of all where it is empty; nil
// before the first table.
func (g *Gateway) UpstreamStatus(service string) []mesh.UpstreamStatus {
	t := g.table.Load()
	if t == nil {
		return nil
	}
	return t.UpstreamStatus(service, time.Now())
}

// Routes returns the configured routes in the order in which they are tried, and those that were
// refused.
func (g *Gateway) Routes() ([]route.Spec, []route.Refusal) {
	t := g.table.Load()
	if t == nil {
		return nil, nil
	}
	return t.Ordered(), t.Set().Quarantined
}
