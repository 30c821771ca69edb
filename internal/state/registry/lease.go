package registry

import (
	"container/heap"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	// lapsedTTL is how long a leased instance stays registered after its lease lapsed.
	lapsedTTL = 60 * time.Second
	// vanishWindow, vanishLeast: when at least vanishLeast instances make up a service and more than
	// half of them vanish within the window, it is more likely the network than they.
	vanishWindow = 5 * time.Second
	vanishLeast  = 4
)

// lease is what this node knows of the life of one incarnation. It is guarded by the Registry's mutex.
type lease struct {
	id          string
	incarnation uint64
	owner       string
	lifetime    mesh.Lifetime
	ttl         time.Duration
	// heard is the last sign of life; zero if there was none since this node started.
	heard    time.Time
	deadline time.Time
	// lost is when the session's connection broke; zero if it did not, or another came.
	lost time.Time
	// vanished is when the instance was last found to be failing for lack of life.
	vanished time.Time
	session  *session
	// dropping leases are over: the deregistration is on its way to the store.
	dropping bool
	// at is when the timers look at it next; index is its place in the heap, or -1.
	at    time.Time
	index int
}

// action is what the timers find to do for an instance.
type action uint8

const (
	nothing action = iota
	// fail gives the verdict failing.
	fail
	// suspect gives the verdict suspect.
	suspect
	// drop deregisters.
	drop
	// lapse deregisters a held instance that was fine until its lease ended.
	lapse
	// restore takes a soft verdict back.
	restore
)

func (l *lease) renew(now time.Time) {
	l.heard = now
	l.deadline = now.Add(l.ttl)
}

// endSession tells the holder of the session why it is over.
func (l *lease) endSession(why error) {
	if l.session == nil {
		return
	}
	l.session.err = why
	close(l.session.done)
	l.session = nil
}

// alive reports whether the node hears the instance as it should.
func (l *lease) alive(now time.Time) bool {
	if l.lifetime == mesh.Held && l.session == nil {
		return false
	}
	return now.Before(l.deadline)
}

// judge says what is to be done for the instance now, by which verdict, and when to look again. It looks
// at the state alone, so that nothing depends on how the state came about.
func (l *lease) judge(e *entry, now time.Time) (act action, by Verdict, next time.Time) {
	if l.lifetime == mesh.Permanent {
		return nothing, ByNobody, time.Time{}
	}
	down := e.rec.Health == mesh.Failing || e.rec.Health == mesh.Suspect
	if l.alive(now) {
		if e.rec.Verdict.soft() || e.overlaid {
			return restore, ByNobody, l.deadline
		}
		return nothing, ByNobody, l.deadline
	}
	end := l.end(e)
	if !now.Before(end) {
		if l.lifetime == mesh.Held && !down {
			return lapse, ByLease, end
		}
		return drop, ByLease, end
	}
	if now.Before(l.deadline) { // a held instance without a session
		grace := l.lost.Add(mesh.SessionGrace)
		switch {
		case l.lost.IsZero():
			return nothing, ByNobody, l.deadline
		case now.Before(grace):
			return nothing, ByNobody, grace
		case !down:
			return fail, BySession, l.deadline
		}
		return nothing, ByNobody, l.deadline
	}
	if !down {
		return fail, ByLease, end
	}
	return nothing, ByNobody, end
}

// end is when the instance is deregistered unless it is heard.
func (l *lease) end(e *entry) time.Time {
	end := l.deadline
	if l.lifetime == mesh.Leased {
		end = end.Add(lapsedTTL)
	}
	if e.rec.Health == mesh.Suspect {
		end = end.Add(mesh.LeaseTTL)
	}
	return end
}

// newLeaseLocked starts a lease that nobody was heard for.
func (r *Registry) newLeaseLocked(id string, incarnation uint64, owner string, lt mesh.Lifetime, ttl time.Duration) *lease {
	if was := r.leases[id]; was != nil {
		r.untrackLocked(id, replaced(id, was.owner, owner))
	}
	l := &lease{id: id, incarnation: incarnation, owner: owner, lifetime: lt, ttl: ttl, index: -1}
	l.deadline = time.Now().Add(ttl)
	r.leases[id] = l
	return l
}

// trackLocked keeps the lease of an entry that this node hears.
func (r *Registry) trackLocked(id string, e *entry) {
	l := r.leases[id]
	if e.rec.Node != r.cfg.NodeID {
		if l != nil {
			r.untrackLocked(id, replaced(id, l.owner, e.rec.Owner))
		}
		return
	}
	if l == nil || l.incarnation != e.rec.Incarnation {
		ttl := e.rec.TTL
		if ttl == 0 {
			ttl = mesh.LeaseTTL
		}
		l = r.newLeaseLocked(id, e.rec.Incarnation, e.rec.Owner, e.rec.Lifetime, ttl)
		if r.running {
			l.heard = time.Now()
		}
	}
	switch {
	case e.rec.Verdict.soft(), !l.lost.IsZero():
		// Of an instance whose session is lost a probe may just have said that it passes.
		r.scheduleLocked(l, time.Now())
	case l.lifetime != mesh.Permanent:
		r.scheduleLocked(l, l.deadline)
	}
}

// whyGoneLocked tells the session of an instance that is not there any more why: a lease that lapsed may be
// opened again at once, while who was deregistered by somebody stays so.
func (r *Registry) whyGoneLocked(id string) error {
	if l := r.leases[id]; l != nil && l.dropping {
		return lapsed(id)
	}
	return gone(id)
}

// untrackLocked ends the lease of an id, and its session with the reason.
func (r *Registry) untrackLocked(id string, why error) {
	l := r.leases[id]
	if l == nil {
		return
	}
	l.endSession(why)
	delete(r.leases, id)
	if l.index >= 0 {
		heap.Remove(&r.due, l.index)
	}
}

// scheduleLocked makes the timers look at the lease at the given time, or earlier.
func (r *Registry) scheduleLocked(l *lease, at time.Time) {
	switch {
	case l.index < 0:
		l.at = at
		heap.Push(&r.due, l)
	case at.Before(l.at):
		l.at = at
		heap.Fix(&r.due, l.index)
	default:
		return
	}
	if l.index == 0 {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// dueHeap orders leases by when the timers look at them. A renewal does not move its lease: the timers
// find the later deadline when they look.
type dueHeap []*lease

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is part of heap.Interface.
func (h *dueHeap) Push(x any) {
	l := x.(*lease)
	l.index = len(*h)
	*h = append(*h, l)
}

// Pop is part of heap.Interface.
func (h *dueHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.index = -1
	return l
}
