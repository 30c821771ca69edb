// Package gateway is the role that serves clients: it keeps a table of what discovery knows, and
// forwards exchanges by it.
//
// # Concurrency
//
// A Gateway may be run again after Run has returned. Its methods are safe for concurrent use.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/lifecycle"
	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/listen"
	"github.com/toska-mesh/toska-mesh/internal/traffic/poll"
	"github.com/toska-mesh/toska-mesh/internal/traffic/proxy"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Config is what an operator may set.
type Config struct {
	// Prefix under which services are found; default /api/.
	Prefix string
	// Limits and Timeouts of clients.
	Limits   http1.Limits
	Timeouts http1.Timeouts
	// Loops is how many event loops carry the clients' connections and those to endpoints, where there
	// are event loops (Linux); default one for each processor. 0 has a goroutine serve each connection.
	Loops int
	// Wait is how long the gateway goes on accepting after its readiness is off; default 200 ms.
	Wait time.Duration
	// Grace is how long exchanges under way may take when the gateway stops; default 10 s.
	Grace time.Duration
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Prefix: route.DefaultPrefix, Limits: http1.DefaultLimits(), Timeouts: http1.DefaultTimeouts(),
		Loops: runtime.GOMAXPROCS(0), Wait: 200 * time.Millisecond, Grace: 10 * time.Second,
	}
}

// Ports are what the gateway stands on.
type Ports struct {
	// Discovery tells of instances.
	Discovery mesh.Discovery
	// Listeners that are served.
	Listeners []Listener
	// TLS returns what has the configuration of TLS towards endpoints; nil where it is spoken to none.
	TLS func(upstream.TLS) func() (*tls.Config, error)
	// Internal answers the paths of the gateway's own.
	Internal exchange.Handler
	// Signals take word of each exchange.
	Signals Signals
	// Saved keeps the last good snapshot across restarts; nil keeps none.
	Saved Saved
	Log   *slog.Logger
}

// Gateway is the role.
type Gateway struct {
	cfg      Config
	ports    Ports
	proxy    *proxy.Proxy
	table    atomic.Pointer[route.Table]
	ready    atomic.Bool // there is a table, and Run runs
	stopping atomic.Bool // Run was told to stop
	// unsaved has a token while a snapshot is to be written
	unsaved chan struct{}
	// ejected has a token while an endpoint that was put out is to be told of
	ejected  chan struct{}
	observer *Observer
	counts   listen.Counts

	mu     sync.Mutex
	source source // guarded by mu
}

// New returns a gateway. It starts nothing.
func New(cfg Config, ports Ports) (*Gateway, error) {
	prefix, err := route.NormalPrefix(cfg.Prefix)
	if err != nil {
		return nil, err
	}
	cfg.Prefix = prefix
	g := &Gateway{cfg: cfg, ports: ports, unsaved: make(chan struct{}, 1), ejected: make(chan struct{}, 1)}
	links := http1.DefaultLinkConfig()
	g.observer = NewObserver(ports.Signals, prefix)
	g.proxy = proxy.New(proxy.Config{Table: g.table.Load, Internal: ports.Internal, Links: &links, TLS: ports.TLS, Routed: g.observer.Routed})
	return g, nil
}

// Ready reports whether the gateway has a table and is not stopping.
func (g *Gateway) Ready() bool { return g.ready.Load() && !g.stopping.Load() }

// Table returns the state of the current table; nil before the first.
func (g *Gateway) Table() *mesh.TableStatus {
	t := g.table.Load()
	if t == nil {
		return nil
	}
	routes, services, endpoints := t.Counts()
	return &mesh.TableStatus{
		Revision: t.Revision, Routes: routes, Services: services, Endpoints: endpoints, BuiltAt: t.BuiltAt, Stale: t.Stale,
	}
}

// Run serves until ctx ends, then drains. ready is called once the first table is in force.
func (g *Gateway) Run(ctx context.Context, ready func()) error {
	g.stopping.Store(false)
	defer g.ready.Store(false)
	// The log and the sweep outlive the drain: exchanges end during it.
	behind, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	rear := lifecycle.NewGroup(behind, g.ports.Log)
	if g.ports.Signals.AccessLog != nil {
		rear.Go("access log", g.writeLog)
	}
	rear.Go("link sweep", g.sweep)
	loops := g.newLoops()
	if loops != nil {
		rear.Go("event loops", func(ctx context.Context) error { loops.Run(ctx); return nil })
	}
	rear.Go("ejections", g.tellEjections)
	if g.ports.Saved != nil {
		rear.Go("table save", g.save)
	}

	front := lifecycle.NewGroup(ctx, g.ports.Log)
	front.Go("table", func(ctx context.Context) error { return g.follow(ctx, ready) })
	front.Go("stale table", g.warnStale)
	handler, buffers := g.observer.Before(g.proxy), http1.NewBuffers(g.cfg.Limits)
	for i := range g.ports.Listeners {
		l := &g.ports.Listeners[i]
		front.Go("listener "+l.Name, g.serve(l, handler, buffers, loops))
	}
	front.Go("readiness", func(ctx context.Context) error {
		<-ctx.Done()
		g.stopping.Store(true)
		return nil
	})
	err := front.Wait()
	stop()
	if rearErr := rear.Wait(); err == nil {
		err = rearErr
	}
	return err
}

// newLoops returns the event loops; nil where there are none, and goroutines do.
func (g *Gateway) newLoops() *poll.Loops {
	if g.cfg.Loops == 0 {
		return nil
	}
	loops, err := poll.New(g.cfg.Loops)
	if err == nil {
		return loops
	}
	if !errors.Is(err, poll.ErrUnsupported) {
		g.ports.Log.Warn("no event loops; a goroutine serves each connection", "error", err)
	}
	return nil
}

// writeLog keeps the gateway serving when the log's disk fails: the lines are lost, and it says so.
func (g *Gateway) writeLog(ctx context.Context) error {
	for {
		err := g.ports.Signals.AccessLog.Run(ctx)
		if err == nil {
			return nil
		}
		g.ports.Log.Error("access log write failed", "error", err, "dropped", g.ports.Signals.AccessLog.Dropped())
		if !pause(ctx, time.Second) {
			return nil
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
