package probe

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// Workers is how many probes are under way at once unless someone chose otherwise.
const Workers = 64

// Share is how many of the workers the probes of one service may hold at once: a quarter. What is mute there
// keeps no other service's probes from being made.
func Share(workers int) int { return max(1, workers/4) }

// jitter is the share of the interval by which a probe may start after its place in it.
const jitter = 0.05

// Scheduler probes its targets, each in its interval. The first probe of each is at a random moment of
// its first interval, and the places in the interval are kept, so that the load stays spread.
//
// Schedule and any number of Work run until their context ends; without them nothing is probed. What
// waits for a worker is in the heap, each target at most once: the queue is as long as there are
// targets and never longer. What is due of a service that holds its share of the workers waits beside the
// heap until one of them is free.
type Scheduler struct {
	prober  Prober
	meter   *Meter
	changed func(Target, mesh.Report)
	share   int // of the workers, for one service
	work    chan *entry
	wake    chan struct{} // has a token when the heap has an earlier first

	all atomic.Pointer[[]*entry] // sorted by service and id, replaced as a whole

	mu      sync.Mutex
	entries map[string]*entry // guarded by mu
	due     queue             // guarded by mu
	busy    map[string]*busy  // guarded by mu; by service key, those alone that hold a worker
	offered *entry            // guarded by mu; it waits for any worker to be free
}

// busy is a service that holds workers.
type busy struct {
	holds  int
	parked queue // what is due and over the share
}

// entry is one target with what is known of it. Its fields below status are guarded by Scheduler.mu.
type entry struct {
	target Target
	text   string // of target
	key    string // of the service
	status atomic.Pointer[mesh.ProbeStatus]

	streak streak
	place  time.Time // where in the interval it is due, without jitter
	at     time.Time // when it is due
	in     *queue    // the heap that it is in; nil while it is in none
	index  int       // in that heap
	gone   bool
	// waiting are told of the next probe that starts, and their channels have room for one word.
	waiting []chan answer
}

// answer is what came of a probe that someone waits for.
type answer struct {
	status mesh.ProbeStatus
	err    error
}

// New returns a scheduler without targets, of which those of one service have share probes under way at once
// and no more. changed is called with each changed word of a target, and with
// its first; for one target never twice at once, and in order. It must not block for long: it holds a
// worker.
func New(prober Prober, meter *Meter, share int, changed func(Target, mesh.Report)) *Scheduler {
	s := &Scheduler{
		prober: prober, meter: meter, changed: changed, share: max(1, share), entries: map[string]*entry{}, busy: map[string]*busy{},
		work: make(chan *entry), wake: make(chan struct{}, 1),
	}
	s.all.Store(&[]*entry{})
	return s
}

// Set replaces the targets. One that is there already goes on; one whose incarnation, address or check
// differs starts anew; one that is not given is not probed any more, and what a probe under way finds of
// it is dropped.
func (s *Scheduler) Set(targets []Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := make(map[string]*entry, len(targets))
	changed := len(targets) != len(s.entries)
	now := time.Now()
	for i := range targets {
		t := &targets[i]
		e := s.entries[t.ID]
		if e == nil || !e.target.same(t) {
			changed = true
			e = newEntry(t, now)
			s.due.add(e)
		}
		next[t.ID] = e
	}
	if !changed {
		return
	}
	for id, e := range s.entries {
		if next[id] != e {
			s.dropLocked(e)
		}
	}
	s.entries = next
	s.publishLocked()
	s.poke()
}

func newEntry(t *Target, now time.Time) *entry {
	e := &entry{target: *t, text: t.String(), key: mesh.ServiceKey(t.Service), place: now.Add(rand.N(t.Check.Interval))}
	e.at = e.place
	if t.Failing {
		e.streak.spoken, e.streak.word = true, mesh.Failing
	}
	e.status.Store(&mesh.ProbeStatus{ID: t.ID, Service: t.Service, Incarnation: t.Incarnation, Check: t.Check,
		Target: e.text, Health: e.streak.word})
	return e
}

func (s *Scheduler) dropLocked(e *entry) {
	e.gone = true
	if e.in != nil {
		heap.Remove(e.in, e.index)
	}
	tell(e.waiting, answer{err: notProbed(e.target.ID)})
	e.waiting = nil
}

func (s *Scheduler) publishLocked() {
	all := make([]*entry, 0, len(s.entries))
	for _, e := range s.entries {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *entry) int {
		return cmp.Or(strings.Compare(a.key, b.key), strings.Compare(a.target.ID, b.target.ID))
	})
	s.all.Store(&all)
}

// poke makes Schedule look at the heap.
func (s *Scheduler) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Each calls fn with the status of each target, sorted by service and instance. It never waits for a
// probe. fn must not modify what it is given.
func (s *Scheduler) Each(fn func(*mesh.ProbeStatus)) {
	for _, e := range *s.all.Load() {
		fn(e.status.Load())
	}
}

// Now probes a target at once, out of its turn, and returns what came of it. It waits for a worker and
// for the probe until ctx ends. A target that is not there, or goes meanwhile, is mesh.ErrNotFound.
func (s *Scheduler) Now(ctx context.Context, id string) (mesh.ProbeStatus, error) {
	told := make(chan answer, 1)
	if !s.ask(id, told) {
		return mesh.ProbeStatus{}, notProbed(id)
	}
	select {
	case a := <-told:
		return a.status, a.err
	case <-ctx.Done():
		return mesh.ProbeStatus{}, fmt.Errorf("probe %s: %w", id, ctx.Err())
	}
}

func notProbed(id string) error {
	return &mesh.Error{Kind: mesh.ErrNotFound, Code: mesh.CodeInstanceNone, Detail: fmt.Sprintf("the instance %.128q is not probed here", id)}
}

func (s *Scheduler) ask(id string, told chan answer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	if e == nil {
		return false
	}
	e.waiting = append(e.waiting, told)
	// One that is under way began before it was asked for: another follows it.
	if e.in != nil {
		if now := time.Now(); e.at.After(now) {
			e.at = now
			heap.Fix(e.in, e.index)
		}
		s.poke()
	}
	return true
}

// Schedule hands what is due to the workers until ctx ends.
func (s *Scheduler) Schedule(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		e, wait := s.next()
		if e != nil {
			select {
			case s.work <- e:
			case <-ctx.Done():
				return nil
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-s.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// idle is how long Schedule sleeps when there is nothing.
const idle = time.Hour

// next takes what is due off the heap, and a worker of its service's share for it, or tells how long to wait.
func (s *Scheduler) next() (*entry, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.due) > 0 {
		if wait := time.Until(s.due[0].at); wait > 0 {
			return nil, wait
		}
		e := s.due.first()
		b := s.busy[e.key]
		if b == nil {
			b = &busy{}
			s.busy[e.key] = b
		}
		if b.holds >= s.share {
			b.parked.add(e)
			continue
		}
		b.holds++
		s.offered = e
		return e, 0
	}
	return nil, idle
}

// free gives a worker back that a service held, to what is due of it.
func (s *Scheduler) free(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.busy[key]
	if b.holds--; len(b.parked) > 0 {
		s.due.add(b.parked.first())
		s.poke()
	} else if b.holds == 0 {
		delete(s.busy, key)
	}
}

// OldestDue returns for how long the probe has been due that has waited longest for a worker; zero if none
// waits.
func (s *Scheduler) OldestDue() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	oldest := now
	look := func(e *entry) {
		if e.at.Before(oldest) {
			oldest = e.at
		}
	}
	if len(s.due) > 0 {
		look(s.due[0])
	}
	if s.offered != nil && !s.offered.gone {
		look(s.offered)
	}
	for _, b := range s.busy {
		if len(b.parked) > 0 {
			look(b.parked[0])
		}
	}
	return now.Sub(oldest)
}

// Work makes probes until ctx ends. A probe that is under way then is cut short, and counts for nothing.
func (s *Scheduler) Work(ctx context.Context) error {
	for {
		select {
		case e := <-s.work:
			s.probe(ctx, e)
			s.free(e.key)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Scheduler) probe(ctx context.Context, e *entry) {
	waiting, due, ok := s.begin(e)
	if !ok {
		return
	}
	begin := time.Now()
	s.meter.started(begin.Sub(due))
	limited, cancel := context.WithTimeout(ctx, e.target.Check.Timeout)
	r := s.prober.Probe(limited, &e.target)
	cancel()
	if ctx.Err() != nil {
		tell(waiting, answer{err: &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable,
			Detail: "the probe was cut short: this node stops probing"}})
		return
	}
	s.meter.ended(&e.target, r.OK)
	st := &mesh.ProbeStatus{At: begin, Took: time.Since(begin), OK: r.OK, Output: r.Output}
	news, gone := s.end(e, st)
	if gone {
		tell(waiting, answer{err: notProbed(e.target.ID)})
		return
	}
	tell(waiting, answer{status: *st})
	if news {
		s.changed(e.target, mesh.Report{Health: st.Health, Output: st.Output})
	}
	s.again(e)
}

// tell never blocks: each channel has room for its one answer.
func tell(waiting []chan answer, a answer) {
	for _, c := range waiting {
		c <- a
	}
}

// begin takes those who wait for the probe that starts now.
func (s *Scheduler) begin(e *entry) (waiting []chan answer, due time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.offered == e {
		s.offered = nil
	}
	waiting, e.waiting = e.waiting, nil
	return waiting, e.at, !e.gone
}

// end counts a result, and completes and publishes the status.
func (s *Scheduler) end(e *entry, st *mesh.ProbeStatus) (news, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &e.target
	if !e.gone {
		news = e.streak.take(st.OK, t.Check.Up, t.Check.Down)
	}
	st.ID, st.Service, st.Incarnation, st.Check, st.Target = t.ID, t.Service, t.Incarnation, t.Check, e.text
	st.InARow, st.Health = e.streak.inARow, e.streak.word
	e.status.Store(st)
	return news, e.gone
}

// again puts a target back into the heap: at its place in the interval to come, wherever this probe was,
// or at once if someone asked meanwhile. Places that passed while it was late are left out.
func (s *Scheduler) again(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.gone {
		return
	}
	interval, now := e.target.Check.Interval, time.Now()
	if late := now.Sub(e.place); late >= 0 {
		e.place = now.Add(interval - late%interval)
	}
	e.at = e.place.Add(rand.N(max(1, time.Duration(jitter*float64(interval)))))
	if len(e.waiting) > 0 {
		e.at = now
	}
	s.due.add(e)
	if e.index == 0 {
		s.poke()
	}
}
