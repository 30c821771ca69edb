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
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/backend/file"
	"github.com/toska-mesh/toska-mesh/internal/backend/otel"
	"github.com/toska-mesh/toska-mesh/internal/lifecycle"
	"github.com/toska-mesh/toska-mesh/internal/role/discovery"
	"github.com/toska-mesh/toska-mesh/internal/role/gateway"
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
	dir       *file.Dir
	listeners listeners
	verifier  *token.Verifier
	accessLog io.Writer
	closers   []io.Closer
	started   time.Time

	// what Run puts together
	store      openingStore
	series     *series.Set
	spans      *otel.Exporter
	sampler    span.Sampler
	access     *accesslog.Log
	discovery  *discovery.Discovery
	gateway    *gateway.Gateway
	supervisor *lifecycle.Supervisor
	stopping   atomic.Bool
	// configAlarm is why the configuration file as it is now is not in force; nil if it is
	configAlarm atomic.Pointer[string]
	running     atomic.Bool // the parts above are there
}

// New opens the data directory and binds the listeners, so that what cannot work is refused before
// anything starts. An App that is not run must be closed.
func New(cfg Config) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &App{cfg: cfg, listeners: listeners{}, started: time.Now(), store: openingStore{opened: make(chan struct{})}}
	if err := a.open(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *App) open() (err error) {
	if a.dir, err = file.Open(a.cfg.DataDir); err != nil {
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
		if err := a.listeners.bind(ctx, listenGateway, a.cfg.ListenGateway); err != nil {
			return err
		}
	}
	return a.openAccessLog()
}

// The listeners by name: the key of the ready file's addresses, and the end of the flag that moves it.
const (
	listenGateway   = "gateway"
	listenControl   = "control"
	listenDiscovery = "discovery"
)

func (a *App) openAccessLog() error {
	switch a.cfg.AccessLog {
	case "off", "":
		return nil
	case "-":
		a.accessLog = a.cfg.Stdout
		return nil
	}
	f, err := os.OpenFile(a.cfg.AccessLog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("open the access log: %w; --access-log PATH chooses another, off writes none", err)
	}
	a.accessLog = f
	a.closers = append(a.closers, f)
	return nil
}

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
	var withdraw []func() error
	defer func() {
		for _, f := range withdraw {
			err = errors.Join(err, f())
		}
	}()
	stop := context.AfterFunc(ctx, func() { a.stopping.Store(true) })
	defer stop()
	return a.supervisor.Run(ctx, func() {
		p := a.pointer()
		removals, err := a.announce(p)
		withdraw = removals
		if err != nil {
			// The node serves all the same; whoever looks for it needs --control.
			a.cfg.Log.Warn("node could not be announced", "error", err)
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
	dir, err := filepath.Abs(a.dir.Path())
	if err != nil {
		dir = a.dir.Path()
	}
	return Ready{
		PID: os.Getpid(), Version: a.cfg.Version, NodeID: a.dir.NodeID(), StartedAt: a.started.UTC(), DataDir: dir,
		AdminToken: a.dir.AdminToken(), ServiceToken: a.dir.ServiceToken(), Addresses: a.listeners.addresses(),
	}
}

// announce leaves word where others look: the lock, the user's pointer and the ready file. What is
// returned takes it back.
func (a *App) announce(p Ready) (removals []func() error, err error) {
	err = a.dir.Announce(p.Addresses)
	remove, publishErr := pointer.Publish(p)
	if publishErr == nil {
		removals = append(removals, remove)
	}
	err = errors.Join(err, publishErr)
	if a.cfg.ReadyFile != "" {
		err = errors.Join(err, pointer.WriteFile(a.cfg.ReadyFile, p))
		removals = append(removals, func() error { return removeOwn(a.cfg.ReadyFile) })
	}
	return removals, err
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
