package toska

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// partTimeout bounds each word of farewell to the mesh.
const partTimeout = 3 * time.Second

// member is one instance of a service for as long as it serves.
type member struct {
	o            options
	log          *slog.Logger
	discovery    mesh.Discovery
	release      func() error // closes a Mesh of the member's own; nil for a given discovery
	registration mesh.Registration
	keeper       *Keeper // there before anything is served
	health       *ownHealth
	stopping     atomic.Bool
	parted       bool // the keeper has ended: the mesh has the instance no more; of run's goroutine
}

// member puts together what Join and JoinListener share. Nothing is opened yet.
func (o *options) member(service string) (*member, error) {
	if service == "" {
		service = o.name
	}
	if service == "" {
		return nil, &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid,
			Detail: "join the mesh: the service has no name; give one, or set TOSKA_SERVICE"}
	}
	m := &member{o: *o, log: o.log, discovery: o.client.discovery}
	m.registration = mesh.Registration{Service: service, ID: o.id, Metadata: o.describe(), Check: &mesh.Check{}}
	if o.checkSet {
		m.registration.Check = o.check
	}
	m.health = newOwnHealth(o.health, o.healthTimeout, o.log.With("service", service))
	return m, nil
}

// describe returns the metadata of the instance.
func (o *options) describe() map[string]string {
	md := maps.Clone(o.metadata)
	if md == nil {
		md = map[string]string{}
	}
	if o.version != "" {
		md["version"] = o.version
	}
	if o.strategy != "" {
		md["lb_strategy"] = o.strategy
	}
	if o.weight != 0 {
		md["weight"] = strconv.Itoa(o.weight)
	}
	return md
}

// run serves on ln and is a member of the mesh until ctx ends or a reason comes to leave.
func (m *member) run(ctx context.Context, ln net.Listener, server Server) (err error) {
	m.registration.Address, m.registration.Port, err = advertised(ln, m.o.advertise)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	if m.discovery == nil {
		tie := m.o.mesh()
		m.discovery, m.release = tie, tie.Close
	}
	m.keeper = NewKeeper(m.discovery, m.registration, m.log)
	m.log = m.log.With("service", m.registration.Service, "instance", m.keeper.ID())

	var wg sync.WaitGroup
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	kept := make(chan error, 1)
	wg.Go(func() { served <- server.Serve(ln) })
	m.log.Info("service listens", "address", ln.Addr().String())
	wg.Go(func() { m.keep(inner, kept) })

	reason, ended := m.attend(ctx, served, kept)
	m.leave(ctx, ended)
	cancel()
	err = m.stop(ctx, server, ln, served, ended)
	wg.Wait()
	if m.release != nil {
		err = errors.Join(err, m.release())
	}
	return errors.Join(reason, err)
}

// keep asks for the service's health and keeps the instance registered. kept gets what ended the latter; the
// service is asked on until ctx ends.
func (m *member) keep(ctx context.Context, kept chan<- error) {
	if m.health.ask == nil {
		kept <- m.keeper.Run(ctx)
		return
	}
	first := m.health.check(ctx)
	m.keeper.begin(first)
	var wg sync.WaitGroup
	wg.Go(func() { m.health.watch(ctx, m.o.healthInterval, first, m.tell) })
	kept <- m.keeper.Run(ctx)
	wg.Wait()
}

// tell reports a change of the service's own health.
func (m *member) tell(ctx context.Context, rep mesh.Report) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// While the mesh is away, the keeper tells it as soon as it answers.
	if err := m.keeper.Report(ctx, rep); err != nil && !errors.Is(err, mesh.ErrUnavailable) && ctx.Err() == nil {
		m.log.Warn("health could not be reported", "error", err)
	}
}

// attend waits for a reason to leave. ended tells that the server has ended by itself.
func (m *member) attend(ctx context.Context, served, kept <-chan error) (reason error, ended bool) {
	for {
		select {
		case <-ctx.Done():
			return nil, false
		case err := <-served:
			if errors.Is(err, http.ErrServerClosed) {
				err = nil
			}
			if err != nil {
				err = fmt.Errorf("serve %s: %w", m.registration.Service, err)
			}
			return err, true
		case err := <-kept:
			m.parted = true
			if !errors.Is(err, mesh.ErrNotFound) {
				return err, false
			}
			kept = nil
			m.log.Error("instance was deregistered by somebody else; it goes on serving without the mesh, and joins again when the program is started anew",
				"error", err)
		}
	}
}

// leave tells the mesh, and goes on serving until it has heard. That its session is broken just now does not
// keep the mesh from sending requests.
func (m *member) leave(ctx context.Context, ended bool) {
	m.stopping.Store(true)
	ctx = context.WithoutCancel(ctx)
	if _, known := m.keeper.Instance(); known && !ended && !m.parted {
		bounded, cancel := context.WithTimeout(ctx, partTimeout)
		if err := m.keeper.Drain(bounded); err != nil {
			m.log.Warn("instance could not be drained", "error", err)
		}
		cancel()
		sleep(ctx, m.o.drainDelay)
	}
	bounded, cancel := context.WithTimeout(ctx, partTimeout)
	defer cancel()
	if err := m.keeper.Deregister(bounded); err != nil {
		m.log.Warn("instance could not be deregistered; it goes when its lease lapses", "error", err)
	}
}

// stop stops the server: what is under way has the grace.
func (m *member) stop(ctx context.Context, server Server, ln net.Listener, served <-chan error, ended bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.o.grace)
	defer cancel()
	err := stop(ctx, server)
	_ = ln.Close() // most servers have closed it
	if !ended {
		m.log.Debug("server ended", "error", <-served)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		m.log.Warn("requests were under way when the grace was over; their connections were closed", "grace", m.o.grace)
		err = nil
	}
	if err != nil {
		return fmt.Errorf("stop serving %s: %w", m.registration.Service, err)
	}
	m.log.Info("service stopped")
	return nil
}
