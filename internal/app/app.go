package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/backend/otel"
	"github.com/toska-mesh/toska-mesh/internal/lifecycle"
	"github.com/toska-mesh/toska-mesh/internal/role/discovery"
	"github.com/toska-mesh/toska-mesh/internal/role/gateway"
	"github.com/toska-mesh/toska-mesh/internal/role/health"
	"github.com/toska-mesh/toska-mesh/internal/signal/accesslog"
	"github.com/toska-mesh/toska-mesh/internal/signal/logattr"
	"github.com/toska-mesh/toska-mesh/internal/signal/series"
	"github.com/toska-mesh/toska-mesh/internal/signal/span"
	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
	"github.com/toska-mesh/toska-mesh/internal/trust/token"
)

// Ready is what is known once a node serves: the contents of the ready file.
type Ready = pointer.Pointer

// App is one node.
type App struct {
	cfg       Config
	dir       home
	listeners listeners
	trust     trust
	verifier  *token.Verifier
	closers   []io.Closer
	started   time.Time

	// what Run puts together
	store      openingStore
	series     *series.Set
	spans      *otel.Exporter
	sampler    span.Sampler
	access     *accesslog.Log // made by New
	accessTo   string         // where it goes; of whoever follows reloads alone
	discovery  *discovery.Discovery
	gateway    *gateway.Gateway
	health     *health.Health
	supervisor *lifecycle.Supervisor
	stopping   atomic.Bool
	// accessAlarm is why the access log does not go where it should; nil if it does
	accessAlarm atomic.Pointer[string]
	config      atomic.Pointer[configNow] // never nil
	running     atomic.Bool               // the parts above are there
	found       atomic.Bool               // word of the node was left

	words     sync.Mutex     // guards what follows, and is held over writing the files
	withdraw  []func() error // take back what was left
	withdrawn bool
}

// New opens the data directory and binds the listeners, so that what cannot work is refused before
// anything starts. An App that is not run must be closed.
func New(cfg Config) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := cfg.servesSomething(); err != nil {
		return nil, err
	}
	a := &App{cfg: cfg, listeners: listeners{}, started: time.Now(), store: openingStore{opened: make(chan struct{})}}
	a.config.Store(cfg.configured())
	if cfg.Memory != nil {
		a.store.memory = cfg.Memory.store
	}
	if err := a.open(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *App) open() (err error) {
	if a.dir, err = a.cfg.openHome(); err != nil {
		return err
	}
	a.closers = append(a.closers, a.dir)
	if a.cfg.ReadyFile != "" {
		// One that a killed node left behind would tell of ports and tokens that are nobody's.
		if err := removeIfThere(a.cfg.ReadyFile); err != nil {
			return err
		}
	}
	a.cfg.Log = slog.New(logattr.New(a.cfg.Log.Handler(), a.dir.NodeID()))
	a.verifier = token.NewVerifier(a.dir.AdminToken(), a.dir.ServiceToken())
	if err := a.openTrust(); err != nil {
		return err
	}
	ctx := context.Background()
	if err := a.listeners.bind(ctx, listenControl, a.cfg.ListenControl); err != nil {
		return err
	}
	if a.cfg.runs(RoleDiscovery) {
		if err := a.listeners.bind(ctx, listenDiscovery, a.cfg.ListenDiscovery); err != nil {
			return err
		}
	}
	if a.cfg.runs(RoleGateway) {
		if err := a.bindGateway(ctx); err != nil {
			return err
		}
	}
	return a.openAccessLog()
}

// The listeners by name: the key of the ready file's addresses, and the end of the flag that moves it. A
// configuration file may have more of the gateway's.
const (
	listenGateway    = "gateway"
	listenGatewayTLS = "gateway-tls"
	listenControl    = "control"
	listenDiscovery  = "discovery"
)

// Close lets go of the data directory and the listeners. Run does so by itself.
func (a *App) Close() error {
	a.listeners.close()
	var err error
	for _, c := range slices.Backward(a.closers) {
		err = errors.Join(err, c.Close())
	}
	a.closers = nil
	return err
}

// Run runs the node until ctx ends, and stops it in order. ready is called once every role is ready.
func (a *App) Run(ctx context.Context, ready func(Ready)) (err error) {
	defer func() { err = errors.Join(err, a.Close()) }()
	if err := a.assemble(); err != nil {
		return err
	}
	a.running.Store(true)
	defer func() { err = errors.Join(err, a.Withdraw()) }()
	stop := context.AfterFunc(ctx, func() { a.stopping.Store(true) })
	defer stop()
	return a.supervisor.Run(ctx, func() {
		p := a.pointer()
		if a.cfg.ReadyFile != "" && a.cfg.Memory == nil {
			a.announce(func() (func() error, error) {
				return func() error { return removeOwn(a.cfg.ReadyFile) }, pointer.WriteFile(a.cfg.ReadyFile, p)
			})
		}
		ready(p)
	})
}

// assemble makes the roles and the units they run in.
func (a *App) assemble() error {
	units, err := a.units()
	if err != nil {
		return err
	}
	if a.supervisor, err = lifecycle.NewSupervisor(a.cfg.Log, units...); err != nil {
		return err
	}
	// Whoever wants something starts without it: the gateway serves its last table before the store is
	// open.
	a.supervisor.WantWait = 0
	return nil
}

// log returns the logger of a part.
func (a *App) log(part string) *slog.Logger { return a.cfg.Log.With("role", part) }

// pointer tells how to reach this node.
func (a *App) pointer() Ready {
	dir := a.dir.Path()
	if abs, err := filepath.Abs(dir); err == nil && dir != "" {
		dir = abs
	}
	return Ready{
		PID: os.Getpid(), Version: a.cfg.Version, NodeID: a.dir.NodeID(), StartedAt: a.started.UTC(), DataDir: dir,
		AdminToken: a.dir.AdminToken(), ServiceToken: a.dir.ServiceToken(), Addresses: a.listeners.addresses(),
		TLS: a.trust.files(),
	}
}

// findable leaves word of the node where the user's programs and a second process look, as soon as control
// answers: a node that is not ready yet, or never will be, can be asked why.
func (a *App) findable() {
	if a.cfg.Memory != nil || a.found.Swap(true) {
		return
	}
	p := a.pointer()
	a.announce(func() (func() error, error) { return nil, a.dir.Announce(p.Addresses) })
	a.announce(func() (func() error, error) { return pointer.Publish(p) })
}

// announce leaves word of the node. What leave returns takes it back; it may be nil. Where that fails the node
// serves all the same, and whoever looks for it needs --control.
func (a *App) announce(leave func() (remove func() error, err error)) {
	a.words.Lock()
	defer a.words.Unlock()
	if a.withdrawn {
		return
	}
	remove, err := leave()
	if err != nil {
		a.cfg.Log.Warn("node could not be announced", "error", err)
	}
	if remove != nil {
		a.withdraw = append(a.withdraw, remove)
	}
}

// Withdraw takes back the word that the node left of itself, and lets it leave none again: for who ends the
// process at once. Run does so by itself. It may be called more than once.
func (a *App) Withdraw() error {
	a.words.Lock()
	defer a.words.Unlock()
	a.withdrawn = true
	var err error
	for _, remove := range a.withdraw {
		err = errors.Join(err, remove())
	}
	a.withdraw = nil
	return err
}

// removeOwn leaves the ready file of another node alone that was given the same path.
func removeOwn(path string) error {
	if p, err := pointer.ReadFile(path); err == nil && p.PID != os.Getpid() {
		return nil
	}
	return removeIfThere(path)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the ready file: %w", err)
	}
	return nil
}
