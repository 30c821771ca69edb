// Package health is the role that probes instances: each from the node that holds its session, in the way
// that its check says. What the probes say together is one word on the instance's health, and only a
// changed word is handed on.
//
// # Concurrency
//
// A Health may be run again after Run has returned. Its methods are safe for concurrent use; while it does
// not run, nothing is probed.
package health

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/lifecycle"
	"github.com/toska-mesh/toska-mesh/internal/signal/probe"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Config is what an operator, or the node around it, decides.
type Config struct {
	// NodeID is the id of this node, whose instances are probed; required.
	NodeID string
	// Workers is how many probes are under way at once, of one service a quarter of them; default 64.
	Workers int
	// Metadata has the numbers of the checks that are made of an instance's metadata.
	Metadata Numbers
}

// Numbers are those that the family's metadata leaves to whoever probes. What is below the family's bounds
// is raised to them: an interval of 5 s, a timeout of 1 s, and 1 failure or success in a row.
type Numbers struct {
	// Interval between probes; default 30 s.
	Interval time.Duration
	// HTTPTimeout and TCPTimeout are how long one probe may take; defaults 5 s and 3 s.
	HTTPTimeout, TCPTimeout time.Duration
	// Down failures in a row make an instance failing, Up successes passing again; defaults 3 and 2.
	Down, Up int
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{Workers: probe.Workers, Metadata: Numbers{
		Interval: 30 * time.Second, HTTPTimeout: 5 * time.Second, TCPTimeout: 3 * time.Second, Down: 3, Up: 2}}
}

// Ports are what the role stands on.
type Ports struct {
	// Discovery tells of instances.
	Discovery mesh.Discovery
	// Judge takes the words of probes.
	Judge mesh.Judge
	// Prober makes them.
	Prober probe.Prober
	Log    *slog.Logger
}

// Health is the role. It offers mesh.Probing.
type Health struct {
	cfg     Config
	ports   Ports
	meter   probe.Meter
	current atomic.Pointer[round] // nil while Run does not run

	mu     sync.Mutex
	checks map[string]mesh.Check // guarded by mu; by service key, and never modified
}

var _ mesh.Probing = (*Health)(nil)

// New returns the role. It starts nothing.
func New(cfg Config, ports Ports) (*Health, error) {
	if cfg.NodeID == "" {
		return nil, fmt.Errorf("%w: the id of the node is empty", mesh.ErrInvalid)
	}
	if cfg.Workers <= 0 {
		cfg.Workers = probe.Workers
	}
	return &Health{cfg: cfg, ports: ports}, nil
}

// Configure says how the instances of some services are probed, by service key, whatever they say
// themselves. checks is not modified by either side from then on.
func (h *Health) Configure(checks map[string]mesh.Check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = checks
	if r := h.current.Load(); r != nil {
		r.apply(h.checks)
	}
}

// watchAgain is how long to wait before a watch that ended is begun anew.
const watchAgain = 250 * time.Millisecond

// Run probes until ctx ends. ready is called once it is known what is to be probed.
func (h *Health) Run(ctx context.Context, ready func()) error {
	// The role speaks for the node.
	ctx = identity.NewContext(ctx, identity.Caller{Trusted: true})
	group := lifecycle.NewGroup(ctx, h.ports.Log)
	r := newRound(h)
	h.current.Store(r)
	defer func() {
		h.current.Store(nil)
		r.scheduler.Set(nil) // tells those who wait for a probe
	}()
	group.Go("probe schedule", r.scheduler.Schedule)
	for range h.cfg.Workers {
		group.Go("probe", r.scheduler.Work)
	}
	for i := range r.lanes {
		group.Go("verdicts", r.lanes[i].run)
	}
	group.Go("instances", func(ctx context.Context) error { return h.follow(ctx, r, ready) })
	return group.Wait()
}

// follow takes each snapshot. While discovery is away what was probed last goes on being probed.
func (h *Health) follow(ctx context.Context, r *round, ready func()) error {
	for ctx.Err() == nil {
		for snap, err := range h.ports.Discovery.Watch(ctx, r.revision()) {
			if err != nil {
				h.ports.Log.Warn("discovery lost, the last instances are probed on", "error", err)
				break
			}
			if h.take(r, snap) {
				ready()
			}
		}
		if !pause(ctx, watchAgain) {
			break
		}
	}
	return nil
}

// take puts a snapshot in force, but for one of a store that is being opened and knows nothing yet, and
// one that is older than the last.
func (h *Health) take(r *round, snap *mesh.Snapshot) bool {
	if snap.Stale && snap.Revision.IsZero() {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.snap == nil || !snap.Revision.Before(r.snap.Revision) {
		r.snap = snap
		r.apply(h.checks)
	}
	return true
}

// Probes implements mesh.Probing.
func (h *Health) Probes(_ context.Context, service string) ([]mesh.ProbeStatus, error) {
	r := h.current.Load()
	if r == nil {
		return nil, notRunning()
	}
	key := mesh.ServiceKey(service)
	out := []mesh.ProbeStatus{}
	r.scheduler.Each(func(st *mesh.ProbeStatus) {
		if key == "" || mesh.ServiceKey(st.Service) == key {
			out = append(out, *st)
		}
	})
	return out, nil
}

// ProbeNow implements mesh.Probing.
func (h *Health) ProbeNow(ctx context.Context, id string) (mesh.ProbeStatus, error) {
	r := h.current.Load()
	if r == nil {
		return mesh.ProbeStatus{}, notRunning()
	}
	if err := h.mayProbe(ctx, r, id); err != nil {
		return mesh.ProbeStatus{}, err
	}
	st, err := r.scheduler.Now(ctx, id)
	if err != nil && h.current.Load() != r {
		return mesh.ProbeStatus{}, notRunning()
	}
	return st, err
}

// mayProbe tells why an instance is not probed here. It looks at the registry as it is now: whoever has
// just registered an instance may have it probed.
func (h *Health) mayProbe(ctx context.Context, r *round, id string) error {
	snap, err := h.ports.Discovery.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("probe %s: %w", id, err)
	}
	h.take(r, snap)
	i, err := h.ports.Discovery.Instance(ctx, id)
	if err != nil {
		return err
	}
	refused := func(format string, args ...any) error {
		return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid,
			Detail: fmt.Sprintf("the instance %s of %s cannot be probed: ", i.ID, i.Service) + fmt.Sprintf(format, args...)}
	}
	if i.Node != h.cfg.NodeID {
		return refused("the node %s probes it, which holds its session", i.Node)
	}
	h.mu.Lock()
	checks := h.checks
	h.mu.Unlock()
	if _, ok := h.cfg.choose(&i, checks); !ok {
		return refused("it has no check; register it with one, or give services.%s.check in the configuration file", i.Service)
	}
	return nil
}

func notRunning() error {
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: "the health role does not run here now; its state is in toska status"}
}

// Stats are the numbers of the role at one moment.
type Stats struct {
	// Counts of all probes since the node started.
	Counts probe.Counts
	// Targets are the instances that are probed now, Failing those of them whose probes say failing.
	Targets, Failing int
	// OldestDue is for how long the probe has been due that has waited longest.
	OldestDue time.Duration
}

// Stats returns the numbers as they are now.
func (h *Health) Stats() Stats {
	s := Stats{Counts: h.meter.Counts()}
	r := h.current.Load()
	if r == nil {
		return s
	}
	s.OldestDue = r.scheduler.OldestDue()
	r.scheduler.Each(func(st *mesh.ProbeStatus) {
		s.Targets++
		if st.Health == mesh.Failing {
			s.Failing++
		}
	})
	return s
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
