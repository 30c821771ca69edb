package toska

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	// callTimeout bounds each call to discovery, so that one that never answers is tried elsewhere.
	callTimeout = 5 * time.Second
	// lastMoment is what a call that registers may still take when the program leaves.
	lastMoment = 500 * time.Millisecond
	// remindEvery is how often an outage that goes on is logged again.
	remindEvery = time.Minute
)

// Discovery is what a Keeper needs of the mesh. Every mesh.Discovery has it.
type Discovery interface {
	Open(ctx context.Context, r mesh.Registration, resume uint64) (mesh.Session, error)
	Drain(ctx context.Context, ref mesh.Ref) error
	Deregister(ctx context.Context, ref mesh.Ref) error
}

// Keeper keeps one instance registered: it opens a session, renews it, opens it again when it breaks,
// and registers anew when the mesh has forgotten the instance meanwhile. An instance that somebody
// deregisters while its session lives stays deregistered.
type Keeper struct {
	discovery    Discovery
	registration mesh.Registration
	log          *slog.Logger

	registered chan struct{} // closed by hold, once
	stopping   chan struct{} // closed by Deregister, once
	stop       func()

	mu       sync.Mutex // guards what follows; never held over a call
	session  mesh.Session
	instance mesh.Instance // zero until first registered
	times    uint64        // how often it was registered
	draining bool
	report   *mesh.Report
	running  chan struct{} // closed when Run has returned; nil until it is called
}

// NewKeeper returns a Keeper of the registration. An empty ID is replaced by one made here, so that a
// registration whose acknowledgment was lost is not made twice. The logger must not be nil.
func NewKeeper(d Discovery, r mesh.Registration, log *slog.Logger) *Keeper {
	if r.ID == "" {
		r.ID = mesh.ServiceKey(r.Service) + "-" + strings.ToLower(rand.Text()[:10])
	}
	r.Lifetime = mesh.Held
	k := &Keeper{
		discovery: d, registration: r, log: log.With("service", r.Service, "instance", r.ID),
		registered: make(chan struct{}), stopping: make(chan struct{}),
	}
	k.stop = sync.OnceFunc(func() { close(k.stopping) })
	return k
}

// ID returns the instance's id.
func (k *Keeper) ID() string { return k.registration.ID }

// Registered returns a channel that is closed once the instance is registered for the first time.
func (k *Keeper) Registered() <-chan struct{} { return k.registered }

// Instance returns the instance as it was last accepted; false until then.
func (k *Keeper) Instance() (mesh.Instance, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.instance, k.instance.ID != ""
}

// Standing tells whether the instance is tied to the mesh now, and how often it was registered anew since the
// first time.
func (k *Keeper) Standing() (tied bool, again uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.session != nil, max(k.times, 1) - 1
}

// begin says with which health the instance is registered. It comes before Run.
func (k *Keeper) begin(first mesh.Report) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.registration.InitiallyFailing = first.Health == mesh.Failing
	k.report = &first
}

// Run keeps the instance registered until ctx ends or Deregister is called, and then returns nil. When
// ctx ends, the instance stays registered until its lease lapses. Run ends with an error that matches
// mesh.ErrStale when another program has registered the same id, one that matches mesh.ErrNotFound when
// somebody has deregistered the instance, and the mesh's own error when the very first registration is
// refused. It is called once.
func (k *Keeper) Run(ctx context.Context) error {
	done := make(chan struct{})
	k.mu.Lock()
	if k.running != nil {
		k.mu.Unlock()
		return errors.New("keep an instance registered: Run was called before")
	}
	k.running = done
	k.mu.Unlock()
	defer close(done)
	select {
	case <-k.stopping: // Deregister came first
		return nil
	default:
	}

	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-k.stopping:
			cancel()
		case <-ctx.Done():
		}
	})
	defer wg.Wait()
	defer cancel()
	return k.keep(ctx)
}

func (k *Keeper) keep(ctx context.Context) error {
	var pause backoff
	var outage outage
	for {
		s, err := k.open(ctx)
		switch {
		case ctx.Err() != nil && err != nil:
			return nil
		case err != nil && k.refused(err):
			return fmt.Errorf("register %s: %w", k.registration.ID, err)
		case err != nil:
			outage.note(k.log, err)
		default:
			outage.over(k.log)
			opened := time.Now()
			err = k.hold(ctx, s)
			pause.held(time.Since(opened))
			switch {
			case errors.Is(err, mesh.ErrStale):
				return fmt.Errorf("keep %s registered: another program has taken the id: %w", k.registration.ID, err)
			case errors.Is(err, mesh.ErrNotFound):
				return fmt.Errorf("%s was deregistered by somebody else, and is left so: %w", k.registration.ID, err)
			case ctx.Err() == nil:
				k.log.Warn("session ended; it is opened again", "error", err)
			}
		}
		if !sleep(ctx, pause.next()) {
			return nil
		}
	}
}

// held is an open session and the context that it lives in.
type held struct {
	mesh.Session
	cancel context.CancelFunc
}

// open bounds the call but not the session, which may live in the context of the call. A call that is under
// way when ctx ends gets a moment more: it may have registered the instance, and who is not told so could not
// deregister it.
func (k *Keeper) open(ctx context.Context) (held, error) {
	if ctx.Err() != nil {
		return held{}, ctx.Err()
	}
	k.mu.Lock()
	resume := k.instance.Incarnation
	k.mu.Unlock()
	call, cancel := context.WithCancel(context.WithoutCancel(ctx))
	late := time.AfterFunc(callTimeout, cancel)
	unhurry := context.AfterFunc(ctx, func() { late.Reset(lastMoment) })
	s, err := k.discovery.Open(call, k.registration, resume)
	unhurry()
	inTime := late.Stop()
	if err == nil && inTime {
		return held{s, cancel}, nil
	}
	cancel()
	if err == nil {
		s.Close(true)
	}
	if !inTime {
		err = fmt.Errorf("no answer within %v: %w", callTimeout, mesh.ErrUnavailable)
	}
	return held{}, err
}

// refused reports whether err says that the registration can never succeed. After a first success it
// is taken for a passing condition: the node may have been replaced by one that is still coming up.
func (k *Keeper) refused(err error) bool {
	if _, ok := k.Instance(); ok {
		return false
	}
	for _, kind := range []error{mesh.ErrInvalid, mesh.ErrTooLarge, mesh.ErrUnauthenticated, mesh.ErrForbidden} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// hold keeps the open session until it ends, and tells why it ended.
func (k *Keeper) hold(ctx context.Context, s held) error {
	if err := k.adopt(ctx, s); err != nil {
		return k.part(s, err)
	}
	tick := time.NewTicker(mesh.RenewInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			k.release(s, false)
			return nil
		case <-s.Done():
			return k.part(s, s.Err())
		case <-tick.C:
			if err := k.renew(ctx, s); err != nil {
				return k.part(s, err)
			}
		}
	}
}

// part lets go of a session that is of no use any more, and returns why: its own word, if it has one,
// says more than a call that failed.
func (k *Keeper) part(s held, err error) error {
	select {
	case <-s.Done():
		err = s.Err()
	default:
	}
	k.release(s, true)
	return err
}

// adopt makes s the current session, and tells the mesh again what a new incarnation does not know.
func (k *Keeper) adopt(ctx context.Context, s held) error {
	inst := s.Instance()
	k.mu.Lock()
	first := k.instance.ID == ""
	renewed := k.instance.Incarnation != inst.Incarnation
	k.session, k.instance = s, inst
	if renewed {
		k.times++
	}
	draining, report := k.draining, k.report
	k.mu.Unlock()
	if first {
		close(k.registered)
	}
	if renewed {
		k.log.Info("instance registered", "incarnation", inst.Incarnation, "endpoint", inst.HostPort())
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if draining && !inst.Draining {
		if err := k.discovery.Drain(ctx, mesh.Ref{ID: inst.ID, Incarnation: inst.Incarnation}); err != nil {
			return fmt.Errorf("drain %s: %w", inst.ID, err)
		}
	}
	if report != nil {
		return s.Report(ctx, *report)
	}
	return nil
}

func (k *Keeper) renew(ctx context.Context, s mesh.Session) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return s.Renew(ctx)
}

func (k *Keeper) release(s held, lost bool) {
	k.mu.Lock()
	k.session = nil
	k.mu.Unlock()
	s.Close(lost)
	s.cancel()
}

// sleep pauses for d and reports whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// Report tells the mesh the instance's own verdict, now and after each new registration. An error of
// the kind mesh.ErrUnavailable means that it is told as soon as the mesh answers again.
func (k *Keeper) Report(ctx context.Context, rep mesh.Report) error {
	k.mu.Lock()
	k.report = &rep
	s := k.session
	k.mu.Unlock()
	if s == nil {
		return unreached("report the health of", k.registration.ID)
	}
	return s.Report(ctx, rep)
}

// Drain takes the instance out of rotation and leaves it registered, now and after each new
// registration. An error of the kind mesh.ErrUnavailable means that it is told as soon as the mesh
// answers again.
func (k *Keeper) Drain(ctx context.Context) error {
	k.mu.Lock()
	k.draining = true
	s, inst := k.session, k.instance
	k.mu.Unlock()
	if s == nil {
		return unreached("drain", k.registration.ID)
	}
	return k.discovery.Drain(ctx, mesh.Ref{ID: inst.ID, Incarnation: inst.Incarnation})
}

// Deregister ends Run and removes the instance. It is no error if the mesh does not know it, and if
// the mesh cannot be reached the instance goes when its lease lapses.
func (k *Keeper) Deregister(ctx context.Context) error {
	k.stop()
	k.mu.Lock()
	running := k.running
	k.mu.Unlock()
	if running != nil {
		select {
		case <-running:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	inst, ok := k.Instance()
	if !ok {
		return nil
	}
	err := k.discovery.Deregister(ctx, mesh.Ref{ID: inst.ID, Incarnation: inst.Incarnation})
	if errors.Is(err, mesh.ErrNotFound) || errors.Is(err, mesh.ErrStale) {
		return nil
	}
	return err
}

func unreached(what, id string) error {
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable,
		Detail: fmt.Sprintf("%s %s: the mesh cannot be reached; it is told as soon as it answers", what, id)}
}
