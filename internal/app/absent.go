package app

import (
	"context"
	"iter"

	"github.com/toska-mesh/toska-mesh/internal/role/gateway"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// absent is the registry of a node on which discovery does not run: it knows nothing, and says so. To a gateway
// without a last table it is an empty one, so that the routes of its configuration file are served.
type absent struct{ empty bool }

var _ mesh.Discovery = absent{}

func (absent) err() error {
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable,
		Detail: "discovery does not run on this node; ask one that runs it, or add discovery to --roles"}
}

// Register implements mesh.Discovery.
func (n absent) Register(context.Context, mesh.Registration) (mesh.Instance, error) {
	return mesh.Instance{}, n.err()
}

// Open implements mesh.Discovery.
func (n absent) Open(context.Context, mesh.Registration, uint64) (mesh.Session, error) {
	return nil, n.err()
}

// Renew implements mesh.Discovery.
func (n absent) Renew(context.Context, mesh.Ref) error { return n.err() }

// Report implements mesh.Discovery.
func (n absent) Report(context.Context, mesh.Ref, mesh.Report) error { return n.err() }

// Drain implements mesh.Discovery.
func (n absent) Drain(context.Context, mesh.Ref) error { return n.err() }

// Deregister implements mesh.Discovery.
func (n absent) Deregister(context.Context, mesh.Ref) error { return n.err() }

// Instance implements mesh.Discovery.
func (n absent) Instance(context.Context, string) (mesh.Instance, error) {
	return mesh.Instance{}, n.err()
}

// Snapshot implements mesh.Discovery.
func (n absent) Snapshot(context.Context) (*mesh.Snapshot, error) { return nil, n.err() }

// Watch implements mesh.Discovery. It waits for what does not come.
func (n absent) Watch(ctx context.Context, _ mesh.Revision) iter.Seq2[*mesh.Snapshot, error] {
	return func(yield func(*mesh.Snapshot, error) bool) {
		if n.empty && !yield(&mesh.Snapshot{Services: map[string][]*mesh.Instance{}}, nil) {
			return
		}
		<-ctx.Done()
	}
}

// registry is discovery as a contract, also where it does not run.
func (a *App) registry() mesh.Discovery {
	if a.discovery != nil {
		return a.discovery
	}
	return absent{empty: !a.cfg.hasTable()}
}

// readOnly is a last table that is served and never replaced: what a gateway without discovery knows is no news.
type readOnly struct{ gateway.Saved }

// Save implements gateway.Saved.
func (readOnly) Save(*mesh.Snapshot) error { return nil }

// table is the gateway's last table; nil for a node in memory.
func (a *App) table() gateway.Saved {
	saved := a.saved()
	if saved != nil && !a.cfg.runs(RoleDiscovery) {
		return readOnly{saved}
	}
	return saved
}

// servesSomething returns an error for a gateway that would have nothing to serve, ever: no discovery, no last
// table and no route.
func (c *Config) servesSomething() error {
	if !c.runs(RoleGateway) || c.runs(RoleDiscovery) || c.hasTable() {
		return nil
	}
	if f := c.File; f != nil && len(f.Set.Routes)+len(f.Set.Services) > 0 {
		return nil
	}
	return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid, Detail: "the role gateway would have nothing to serve: " +
		"discovery does not run here, " + c.DataDir + " holds no last table, and no configuration file has a route or a service; " +
		"add discovery to --roles, or name a file with --config"}
}
