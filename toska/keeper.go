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
	news       chan struct{} // has room for one: there is something that hold tells the mesh
	stop       func()

	mu       sync.Mutex // guards what follows; never held over a call
	session  mesh.Session
	instance mesh.Instance // zero until first registered
	times    uint64        // how often it was registered
	draining bool
	drained  uint64        // the incarnation that the mesh knows to be draining
	said     *saying       // the newest on the instance's health; nil before the first
	running  chan struct{} // closed when Run has returned; nil until it is called
}

// NewKeeper returns a Keeper of the registration. An empty ID is replaced by one made here, so that a
// registration whose acknowledgment was lost is not made twice. The logger must not be nil.
func NewKeeper(d Discovery, r mesh.Registration, log *slog.Logger) *Keeper {
	if r.ID == "" {
		r.ID = mesh.ServiceKey(r.Service) + "-" + strings.ToLower(rand.Text()[:10])
	}
	if r.Owner == "" {
		r.Owner = strings.ToLower(rand.Text())
	}
	r.Lifetime = mesh.Held
	k := &Keeper{
		discovery: d, registration: r, log: log.With("service", r.Service, "instance", r.ID),
		registered: make(chan struct{}), stopping: make(chan struct{}), news: make(chan struct{}, 1),
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
	k.said = newSaying(first)
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
		case errors.Is(err, mesh.ErrStale):
			return k.outdone(err)
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
				return k.outdone(err)
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

// outdone ends a run whose id another one has.
func (k *Keeper) outdone(err error) error {
	return fmt.Errorf("keep %s registered: another program has taken the id: %w", k.registration.ID, err)
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

// hold keeps the open session until it ends, and tells why it ended. It alone tells the mesh what the instance
// has to say, so that nothing older comes after what is newer.
func (k *Keeper) hold(ctx context.Context, s held) error {
	k.adopt(s)
	tick := time.NewTicker(mesh.RenewInterval)
	defer tick.Stop()
	again := time.NewTimer(longestPause)
	defer again.Stop()
	var pause backoff
	for {
		switch err := k.tell(ctx, s); {
		case err == nil:
			pause = backoff{}
			again.Stop()
		case errors.Is(err, mesh.ErrNotFound), errors.Is(err, mesh.ErrStale):
			return k.part(s, err)
		default:
			if pause.attempts == 0 && ctx.Err() == nil {
				k.log.Warn("the mesh could not be told; it is tried again until it has heard", "error", err)
			}
			pause.attempts = max(pause.attempts, 1) // no attempt follows at once
			again.Reset(pause.next())
		}
		if more, err := k.await(ctx, s, tick.C, again.C); !more {
			return err
		}
	}
}

// await renews until there is something to tell, or the session is over.
func (k *Keeper) await(ctx context.Context, s held, tick, again <-chan time.Time) (more bool, err error) {
	for {
		select {
		case <-ctx.Done():
			k.release(s, false)
			return false, nil
		case <-s.Done():
			return false, k.part(s, s.Err())
		case <-k.news:
			return true, nil
		case <-again:
			return true, nil
		case <-tick:
			if err := k.renew(ctx, s); err != nil {
				return false, k.part(s, err)
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

// adopt makes s the current session: the mesh is told again what the instance has to say. What the mesh says of
// the instance, that it drains, is kept for its next incarnation.
func (k *Keeper) adopt(s held) {
	inst := s.Instance()
	k.mu.Lock()
	first := k.instance.ID == ""
	renewed := k.instance.Incarnation != inst.Incarnation
	k.session, k.instance = s, inst
	if renewed {
		k.times++
	}
	if inst.Draining {
		k.draining, k.drained = true, inst.Incarnation
	} else {
		k.drained = 0
	}
	if k.said != nil {
		k.said.told = false
	}
	k.mu.Unlock()
	if first {
		close(k.registered)
	}
	if renewed {
		k.log.Info("instance registered", "incarnation", inst.Incarnation, "endpoint", inst.HostPort())
	}
}

func (k *Keeper) renew(ctx context.Context, s mesh.Session) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := s.Renew(ctx)
	if inst := s.Instance(); err == nil && inst.Draining {
		k.mu.Lock()
		k.draining, k.drained = true, inst.Incarnation
		k.mu.Unlock()
	}
	return err
}

func (k *Keeper) release(s held, lost bool) {
	k.mu.Lock()
	k.session = nil
	w := k.said
	k.mu.Unlock()
	w.settle(unreached("report the health of", k.registration.ID))
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
