package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	// storeDeadline bounds how long a call waits for the local snapshot to reach what was committed.
	storeDeadline = 2 * time.Second
	// backoffLeast and backoffMost bound the pause before the store is tried again.
	backoffLeast = 50 * time.Millisecond
	backoffMost  = 2 * time.Second
	// maxWaiting is how many commits are applied together at most.
	maxWaiting = 256
)

// Config is what a Registry needs to know of its node.
type Config struct {
	// NodeID is the id of this node; required.
	NodeID string
	// Names is which service names are admitted at all; a surface with a narrower rule calls Validate.
	Names NameRule
	// OwnListeners returns the addresses on which this node listens now, which no instance may have.
	// It may be nil.
	OwnListeners func() []netip.AddrPort
	// Resolve returns the addresses of a host name, to compare them with OwnListeners; nil asks the
	// system.
	Resolve func(ctx context.Context, name string) ([]netip.Addr, error)
	// Log may be nil.
	Log *slog.Logger
}

// Registry is the record of instances as one node sees and changes it. It implements mesh.Discovery
// and mesh.Judge.
type Registry struct {
	cfg   Config
	store Store
	log   *slog.Logger
	view  atomic.Pointer[view]
	// wake tells the timers that something is due earlier than they wait for.
	wake chan struct{}

	// mu guards what follows.
	mu      sync.Mutex
	active  bool              // Run has been called and has not returned
	running bool              // Run has loaded the record and follows it
	entries map[string]*entry // by id
	damaged map[string]damage // by key
	leases  map[string]*lease
	due     dueHeap
}

// entry is one record of the mirror. Entries are replaced, never modified.
type entry struct {
	rec Record
	// number is the revision number of the stored value, the condition of the next write.
	number uint64
	inst   *mesh.Instance
	// overlaid entries hand out a failing instance because the store could not be told.
	overlaid bool
}

// damage is a stored value that is kept and not served.
type damage struct {
	number uint64
	reason string
}

// Damage names a stored value that is kept, but not served, because it cannot be trusted.
type Damage struct {
	// Key is the key in the store.
	Key string
	// Reason says what is wrong with the value.
	Reason string
}

// Stats is the registry's size and age.
type Stats struct {
	Revision  mesh.Revision
	Services  int
	Instances int
	// Sessions is how many instances hold a stream to this node.
	Sessions int
	// Stale is true while the store cannot be followed.
	Stale bool
	// Damaged are the values in quarantine, sorted by key.
	Damaged []Damage
	// Published counts the snapshots that were published since New.
	Published uint64
}

var (
	_ mesh.Discovery      = (*Registry)(nil)
	_ mesh.MetadataEditor = (*Registry)(nil)
	_ mesh.Judge          = (*Registry)(nil)
)

// New returns a Registry that serves nothing until Run.
func New(cfg Config, store Store) (*Registry, error) {
	if cfg.NodeID == "" {
		return nil, errors.New("registry: the node's id is missing")
	}
	if store == nil {
		return nil, errors.New("registry: the store is missing")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Resolve == nil {
		cfg.Resolve = func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		}
	}
	r := &Registry{cfg: cfg, store: store, log: cfg.Log, wake: make(chan struct{}, 1)}
	r.entries = make(map[string]*entry)
	r.forgetLocked()
	r.view.Store(&view{changed: make(chan struct{})})
	return r, nil
}

// forgetLocked forgets the leases. The mirror stays, for reads and for the instances that do not change.
func (r *Registry) forgetLocked() {
	r.leases = make(map[string]*lease)
	r.due = nil
}

// Run loads the record, calls ready, and follows the store until ctx ends. The error is that of the
// first load, or of a broken invariant. When Run returns, every session has ended and the last snapshot
// is served as stale; it may then be called again, and every lease starts anew.
func (r *Registry) Run(ctx context.Context, ready func()) error {
	if !r.begin() {
		return errors.New("registry: already running")
	}
	defer r.end()
	rev, err := r.load(ctx)
	if err != nil {
		return fmt.Errorf("load the registry: %w", err)
	}
	ready()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var timersErr error
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		timersErr = contain(func() { r.runTimers(ctx) })
	})
	followErr := contain(func() { r.follow(ctx, rev) })
	cancel()
	wg.Wait()
	return errors.Join(followErr, timersErr)
}

// contain turns a panic of fn into an error, so that it ends the registry and not the process.
func contain(fn func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("registry: panic: %v\n%s", p, debug.Stack())
		}
	}()
	fn()
	return nil
}

func (r *Registry) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.active {
		return false
	}
	r.active = true
	return true
}

func (r *Registry) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.leases {
		l.endSession(unavailable("the node stops"))
	}
	r.active, r.running = false, false
	r.forgetLocked()
	r.markStaleLocked()
}

// follow applies each commit after rev until ctx ends. While the store cannot be followed the snapshot
// is stale.
func (r *Registry) follow(ctx context.Context, rev mesh.Revision) {
	pause := backoffLeast
	for {
		err := r.watchStore(ctx, rev)
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, mesh.ErrNotFound) {
			r.lost(err)
			if !sleep(ctx, pause) {
				return
			}
			pause = min(2*pause, backoffMost)
		}
		for {
			if rev, err = r.load(ctx); err == nil {
				pause = backoffLeast
				break
			}
			r.lost(err)
			if !sleep(ctx, pause) {
				return
			}
			pause = min(2*pause, backoffMost)
		}
	}
}

// watchStore applies each commit after rev. Those that wait are applied together, so that a burst of
// them costs few snapshots.
func (r *Registry) watchStore(ctx context.Context, rev mesh.Revision) error {
	ctx, cancel := context.WithCancel(ctx)
	commits := make(chan Commit, maxWaiting)
	var err, broken error
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(commits)
		broken = contain(func() { err = r.receive(ctx, rev, commits) })
	})
	defer wg.Wait()
	defer cancel()
	for c := range commits {
		r.apply(waiting(c, commits))
	}
	if broken != nil {
		panic(broken)
	}
	return err
}

// receive hands on what the store's watch yields.
func (r *Registry) receive(ctx context.Context, rev mesh.Revision, commits chan<- Commit) error {
	for c, err := range r.store.Watch(ctx, rev) {
		if err != nil {
			return err
		}
		select {
		case commits <- c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.New("the store's watch ended")
}

// waiting returns c and the commits that have come behind it.
func waiting(c Commit, commits <-chan Commit) []Commit {
	batch := []Commit{c}
	for len(batch) < maxWaiting {
		select {
		case c, ok := <-commits:
			if !ok {
				return batch
			}
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

// lost marks the snapshot stale, and says so once.
func (r *Registry) lost(err error) {
	r.mu.Lock()
	first := r.markStaleLocked()
	r.mu.Unlock()
	if first {
		r.log.Warn("registry is stale: the store cannot be followed", slog.Any("error", err))
	}
}

// sleep waits for d, or returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Stats returns the registry's size and age.
func (r *Registry) Stats() Stats {
	v := r.view.Load()
	st := Stats{Stale: true}
	if v.snap != nil {
		st = Stats{Revision: v.snap.Revision, Services: len(v.snap.Services),
			Instances: v.snap.Instances(), Stale: v.snap.Stale}
	}
	st.Published = v.nth
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.leases {
		if l.session != nil {
			st.Sessions++
		}
	}
	for key, d := range r.damaged {
		st.Damaged = append(st.Damaged, Damage{Key: key, Reason: d.reason})
	}
	slices.SortFunc(st.Damaged, func(a, b Damage) int { return strings.Compare(a.Key, b.Key) })
	return st
}

// LastHeard returns when this node last heard of the instance: its registration, a renewal or a report.
// It is false for instances that were not heard since this node started, or that another node hears.
func (r *Registry) LastHeard(id string) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.leases[id]
	if !ok || l.heard.IsZero() {
		return time.Time{}, false
	}
	return l.heard, true
}

// unavailable is the error of a call that may succeed later.
func unavailable(detail string) error {
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: detail}
}
