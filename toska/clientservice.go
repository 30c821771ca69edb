package toska

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	// firstSnapshot bounds how long the first call to a service waits to learn its instances.
	firstSnapshot = 5 * time.Second
	// emptyGrace is how long the last known instances are kept when discovery comes back without any: a node
	// that lost its memory hears of them again within the longest pause of their sessions.
	emptyGrace = 2 * longestPause
	// idleService is how long a service that is not called is followed, and emptyService one of which no
	// instance is known: whoever names services from outside could name any number.
	idleService  = 10 * time.Minute
	emptyService = 2 * firstSnapshot
	// mostServices are followed at once.
	mostServices = 256
)

// serviceWatcher is a mesh.Discovery that tells of one service alone: its snapshots hold no other.
type serviceWatcher interface {
	WatchService(ctx context.Context, service string, since mesh.Revision) iter.Seq2[*mesh.Snapshot, error]
}

// services are those that a Client follows, each from its first use on.
type services struct {
	discovery mesh.Discovery
	log       *slog.Logger
	base      context.Context // ends with close, and with it every watch
	end       context.CancelFunc
	byKey     atomic.Pointer[map[string]*followed] // by mesh.ServiceKey; copied to be changed

	mu      sync.Mutex // guards changes of byKey, closed, and that no watch begins while close waits
	closed  bool
	watches sync.WaitGroup
}

func newServices(d mesh.Discovery, log *slog.Logger) *services {
	s := &services{discovery: d, log: log}
	s.base, s.end = context.WithCancel(context.Background())
	s.byKey.Store(&map[string]*followed{})
	return s
}

// close ends every watch and waits for them.
func (s *services) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	for _, f := range *s.byKey.Load() {
		f.idle.Stop()
	}
	s.watches.Wait()
}

// follow returns the service, and begins to watch it if nobody has asked for it yet.
func (s *services) follow(name string) (*followed, error) {
	key := mesh.ServiceKey(name)
	if f := (*s.byKey.Load())[key]; f != nil {
		f.used.Store(time.Now().UnixNano())
		return f, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.followLocked(name, key)
}

// pin is follow for a handle that is open until unpin: the service is not dropped meanwhile.
func (s *services) pin(name string) (*followed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.followLocked(name, mesh.ServiceKey(name))
	if err == nil {
		f.pins++
	}
	return f, err
}

func (s *services) unpin(f *followed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.pins--
	f.used.Store(time.Now().UnixNano())
}

func (s *services) followLocked(name, key string) (*followed, error) {
	if !validService(name) {
		return nil, &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid,
			Detail: "call " + name + ": this is no name of a service; one has up to 128 letters, digits, hyphens, dots or underscores"}
	}
	if s.closed {
		return nil, closedError(name)
	}
	known := *s.byKey.Load()
	if f := known[key]; f != nil {
		f.used.Store(time.Now().UnixNano())
		return f, nil
	}
	if len(known) >= mostServices {
		least := s.leastLocked()
		if least == nil {
			return nil, unavailable(fmt.Sprintf("call %s: this client follows %d services already, and waits to learn the instances of them", name, mostServices), nil)
		}
		s.dropLocked(least)
		known = *s.byKey.Load()
	}
	ctx, cancel := context.WithCancel(s.base)
	f := &followed{name: name, key: key, of: s, cancel: cancel, dropped: ctx.Done(), known: make(chan struct{}), changed: make(chan struct{})}
	f.used.Store(time.Now().UnixNano())
	f.idle = time.AfterFunc(emptyService, func() { s.dropIdle(f) })
	next := maps.Clone(known)
	next[key] = f
	s.byKey.Store(&next)
	s.watches.Go(func() {
		defer cancel()
		f.run(ctx)
	})
	return f, nil
}

// dropIdle ends the watch of a service that has not been called for long.
func (s *services) dropIdle(f *followed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || (*s.byKey.Load())[f.key] != f {
		return
	}
	most := emptyService
	if f.hasInstances() {
		most = idleService
	}
	left := most - time.Since(time.Unix(0, f.used.Load()))
	if left > 0 || f.pins > 0 {
		f.idle.Reset(max(left, time.Second))
		return
	}
	s.dropLocked(f)
}

func (s *services) dropLocked(f *followed) {
	next := maps.Clone(*s.byKey.Load())
	delete(next, f.key)
	s.byKey.Store(&next)
	f.idle.Stop()
	f.cancel()
}

// leastLocked returns the service that is missed least: one without instances, else the one that was not
// called for longest. Those with open handles stay, and so do those whose first callers still wait to learn
// their instances; nil if there is no other.
func (s *services) leastLocked() *followed {
	var least *followed
	for _, f := range *s.byKey.Load() {
		waited := f.upstream.Load() == nil && time.Since(time.Unix(0, f.used.Load())) <= firstSnapshot
		if f.pins > 0 || waited {
			continue
		}
		if least == nil || f.hasInstances() == least.hasInstances() && f.used.Load() < least.used.Load() ||
			!f.hasInstances() && least.hasInstances() {
			least = f
		}
	}
	return least
}

func validService(name string) bool {
	if name == "" || len(name) > 128 {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		default:
			return false
		}
	}
	return true
}

// followed is a service with its endpoints as they were last known.
type followed struct {
	name   string
	key    string
	of     *services
	cancel context.CancelFunc
	// dropped is closed when the service is not followed any more.
	dropped <-chan struct{}
	used    atomic.Int64 // when it was last called, in Unix nanoseconds
	idle    *time.Timer
	pins    int // handles that are open; guarded by of.mu

	upstream atomic.Pointer[upstream.Upstream] // nil before the first snapshot
	known    chan struct{}                     // closed with the first snapshot

	mu      sync.Mutex    // guards what follows, and that upstreams are built one after the other
	changed chan struct{} // closed and replaced with each new upstream
	failure error         // why discovery is not heard; nil while it is
	empty   *time.Timer   // runs while an empty registry is not yet believed
}

func (f *followed) hasInstances() bool {
	up := f.upstream.Load()
	return up != nil && up.Instances > 0
}

// run follows the service until ctx ends. What was last known stays while discovery is away.
func (f *followed) run(ctx context.Context) {
	log := f.of.log.With("service", f.name)
	var pause backoff
	for {
		began := time.Now()
		err := f.watch(ctx, log)
		f.disbelieve()
		if ctx.Err() != nil {
			return
		}
		if f.fail(err) {
			log.Warn("discovery is away; calls go to the instances that were last known", "error", err)
		}
		pause.held(time.Since(began))
		if !sleep(ctx, pause.next()) {
			return
		}
	}
}

// watch adopts what discovery says until it says no more. It begins anew each time, at no revision: a node
// that lost its registry counts from below again.
func (f *followed) watch(ctx context.Context, log *slog.Logger) error {
	first := true
	for snap, err := range f.snapshots(ctx) {
		if err != nil {
			return err
		}
		if f.hear() {
			log.Info("discovery answers again")
		}
		f.adopt(snap.Services[f.key], first)
		first = false
	}
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: "watch " + f.name + ": the watch ended"}
}

func (f *followed) snapshots(ctx context.Context) iter.Seq2[*mesh.Snapshot, error] {
	if d, ok := f.of.discovery.(serviceWatcher); ok {
		return d.WatchService(ctx, f.name, mesh.Revision{})
	}
	return f.of.discovery.Watch(ctx, mesh.Revision{})
}

// fail notes why discovery is not heard, and reports whether that is news.
func (f *followed) fail(err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	news := f.failure == nil
	f.failure = err
	return news
}

// hear notes that discovery is heard, and reports whether that is news.
func (f *followed) hear() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	news := f.failure != nil
	f.failure = nil
	return news
}

// adopt builds the endpoints anew. A watch that begins without any instance is not believed at once if
// there were some.
func (f *followed) adopt(instances []*mesh.Instance, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	waiting := f.empty != nil
	if waiting {
		f.empty.Stop()
		f.empty = nil
	}
	last := f.upstream.Load()
	if len(instances) == 0 && (first || waiting) && last != nil && last.Instances > 0 {
		var t *time.Timer
		t = time.AfterFunc(emptyGrace, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.empty == t {
				f.empty = nil
				f.buildLocked(nil)
			}
		})
		f.empty = t
		return
	}
	f.buildLocked(instances)
}

// disbelieve keeps what was last known, now that discovery is away again.
func (f *followed) disbelieve() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.empty != nil {
		f.empty.Stop()
		f.empty = nil
	}
}

func (f *followed) buildLocked(instances []*mesh.Instance) {
	last := f.upstream.Load()
	src := upstream.Source{Service: f.name, Instances: instances}
	if len(instances) > 0 {
		src.Service = instances[0].Service
	}
	next := upstream.Build(last, src, func(t upstream.Target) upstream.Connections { return pooled{secure: t.Secure} })
	if next == last {
		return
	}
	f.upstream.Store(next)
	if last == nil {
		close(f.known)
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// pooled stands for the connections to an endpoint: the transport has those of all of them.
type pooled struct {
	// secure says that TLS is spoken, and never anything in its place.
	secure bool
}

func isSecure(e *upstream.Endpoint) bool {
	c, _ := e.Connections.(pooled)
	return c.secure
}

// Sweep implements upstream.Connections.
func (pooled) Sweep(time.Time) {}

// Close implements upstream.Connections.
func (pooled) Close() {}

// errDropped says that a service was let go between being looked up and waited for. It is looked up again.
var errDropped = unavailable("the service is not followed any more", nil)

// wait returns the endpoints, at once but for the very first time.
func (f *followed) wait(ctx context.Context) (*upstream.Upstream, error) {
	if u := f.upstream.Load(); u != nil {
		return u, nil
	}
	timer := time.NewTimer(firstSnapshot)
	defer timer.Stop()
	select {
	case <-f.known:
		return f.upstream.Load(), nil
	case <-ctx.Done():
		return nil, f.unheard(context.Cause(ctx))
	case <-timer.C:
		return nil, f.unheard(nil)
	case <-f.dropped:
		if f.of.base.Err() == nil {
			return nil, errDropped
		}
		return nil, closedError(f.name)
	}
}

// unheard explains that nothing is known of the service yet.
func (f *followed) unheard(ended error) error {
	f.mu.Lock()
	why := f.failure
	f.mu.Unlock()
	e := &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Cause: ended}
	e.Detail = "call " + f.name + ": discovery has not said yet which instances it has"
	if why != nil {
		e.Detail += ": " + why.Error()
		if ended == nil {
			e.Cause = why
		}
	}
	if ended != nil {
		e.Detail += ": " + ended.Error()
	}
	return e
}

func closedError(service string) error {
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: "call " + service + ": the client is closed"}
}
