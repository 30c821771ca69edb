package registry

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	// maxBatch is how many instances one transaction of the timers changes.
	maxBatch = 100
	// maxBatchBytes bounds a transaction well below the 1.5 MiB that the engine takes in one request, and
	// deedOverhead is what a deed takes besides its record and names.
	maxBatchBytes = 1 << 20
	deedOverhead  = 256
	// conflictPause and outagePause are how long the timers wait before they try again.
	conflictPause = 20 * time.Millisecond
	outagePause   = time.Second
)

// deed is one change that the timers have found due.
type deed struct {
	lease *lease
	entry *entry
	act   action
	by    Verdict
}

// runTimers looks at each lease when it is due, until ctx ends.
func (r *Registry) runTimers(ctx context.Context) {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for ctx.Err() == nil {
		deeds, next := r.dueDeeds(time.Now())
		if len(deeds) > 0 {
			for len(deeds) > 0 {
				n := min(len(deeds), maxBatch)
				r.settle(ctx, deeds[:n])
				deeds = deeds[n:]
			}
			continue
		}
		t.Reset(next)
		select {
		case <-t.C:
		case <-r.wake:
		case <-ctx.Done():
		}
	}
}

// dueDeeds takes what is due from the heap and returns what is to be done about it, and how long until
// the next look.
func (r *Registry) dueDeeds(now time.Time) ([]deed, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []deed
	back := make(map[string]*entry) // what the store was never told of
	for len(r.due) > 0 && !now.Before(r.due[0].at) {
		l := heap.Pop(&r.due).(*lease)
		e := r.entries[l.id]
		if e == nil || e.rec.Incarnation != l.incarnation {
			continue // the commit that tells of it is on its way, and brings its own lease
		}
		act, by, next := l.judge(e, now)
		switch {
		case act == restore && !e.rec.Verdict.soft():
			back[l.id] = e.plain(r.cfg.NodeID)
			r.scheduleLocked(l, next)
		case act != nothing:
			out = append(out, deed{lease: l, entry: e, act: act, by: by})
		case !next.IsZero():
			r.scheduleLocked(l, next)
		}
	}
	r.putLocked(back)
	out = r.suspectLocked(out, now)
	for _, d := range out {
		d.lease.dropping = d.removes()
	}
	if len(r.due) == 0 {
		return out, time.Hour
	}
	return out, r.due[0].at.Sub(now)
}

// suspectLocked turns failing and lapsed instances into suspects where most of their service vanished
// at once, and with them those that vanished a moment before.
func (r *Registry) suspectLocked(deeds []deed, now time.Time) []deed {
	vanishing := make(map[string]int)
	mine := make(map[string]bool)
	for _, d := range deeds {
		if d.act == fail || d.act == lapse {
			d.lease.vanished = now
			vanishing[mesh.ServiceKey(d.entry.rec.Service)]++
		}
		mine[d.lease.id] = true
	}
	snap := r.view.Load().snap
	for service, n := range vanishing {
		all := snap.Services[service]
		var earlier []deed
		for _, inst := range all {
			l, e := r.leases[inst.ID], r.entries[inst.ID]
			if l == nil || e == nil || mine[inst.ID] || !e.rec.Verdict.soft() ||
				l.vanished.IsZero() || now.Sub(l.vanished) > vanishWindow {
				continue
			}
			n++
			if e.rec.Health == mesh.Failing {
				earlier = append(earlier, deed{lease: l, entry: e, act: suspect, by: e.rec.Verdict})
			}
		}
		if len(all) < vanishLeast || 2*n <= len(all) {
			continue
		}
		for i, d := range deeds {
			if (d.act == fail || d.act == lapse) && mesh.ServiceKey(d.entry.rec.Service) == service {
				deeds[i].act = suspect
			}
		}
		deeds = append(deeds, earlier...)
	}
	return deeds
}

// settle commits the deeds in as few transactions as their size allows. One that fails for any reason but
// an outage is tried again in halves, so that what the store refuses hinders nothing else; a full store
// still takes removals.
func (r *Registry) settle(ctx context.Context, deeds []deed) {
	txn, n, err := r.transaction(deeds)
	if n < len(deeds) && err == nil {
		r.settle(ctx, deeds[:n])
		r.settle(ctx, deeds[n:])
		return
	}
	var rev mesh.Revision
	if err == nil {
		rev, err = r.store.Commit(ctx, txn)
	}
	switch {
	case err == nil:
		logDeeds(r.log, deeds)
		pause := time.Duration(0)
		if !r.reach(ctx, rev) {
			pause = outagePause
		}
		r.lookAgain(deeds, pause)
	case mesh.CodeOf(err) == mesh.CodeStoreFull && ctx.Err() == nil && mixed(deeds):
		removals, verdicts := split(deeds)
		r.settle(ctx, removals)
		r.settle(ctx, verdicts)
	case !errors.Is(err, mesh.ErrUnavailable) && ctx.Err() == nil && len(deeds) > 1:
		r.settle(ctx, deeds[:len(deeds)/2])
		r.settle(ctx, deeds[len(deeds)/2:])
	case errors.Is(err, mesh.ErrConflict):
		r.lookAgain(deeds, conflictPause)
	default:
		if ctx.Err() == nil {
			r.log.Debug("the store could not be told of vanished instances", slog.Any("error", err))
			r.overlay(deeds)
		}
		r.lookAgain(deeds, outagePause)
	}
}

// removes reports whether a deed takes its instance out of the store.
func (d deed) removes() bool { return d.act == drop || d.act == lapse }

func mixed(deeds []deed) bool {
	return slices.ContainsFunc(deeds, func(d deed) bool { return d.removes() != deeds[0].removes() })
}

// split tells removals from verdicts.
func split(deeds []deed) (removals, verdicts []deed) {
	for _, d := range deeds {
		if d.removes() {
			removals = append(removals, d)
		} else {
			verdicts = append(verdicts, d)
		}
	}
	return removals, verdicts
}

// transaction builds the writes and the journal entry of the deeds, or of the first n of them that fit.
func (r *Registry) transaction(deeds []deed) (txn Txn, n int, err error) {
	now := time.Now().UTC()
	txn.Writes = make([]Write, 0, len(deeds))
	je := Entry{At: now, Who: "node " + r.cfg.NodeID}
	size := 0
	for i, d := range deeds {
		w, also, err := d.write(now)
		if err != nil {
			return Txn{}, i, err
		}
		size += len(w.Key) + len(w.Data) + deedOverhead + len(also.Service) + len(also.ID)
		if i > 0 && size > maxBatchBytes {
			return Txn{}, i, nil
		}
		txn.Writes = append(txn.Writes, w)
		if i == 0 {
			je.What, je.Why, je.Service, je.ID = also.What, also.Why, also.Service, also.ID
			continue
		}
		je.Also = append(je.Also, also)
	}
	txn.Journal = je.encode()
	return txn, len(deeds), nil
}

// write returns what a deed writes and what the journal tells of it.
func (d deed) write(now time.Time) (Write, Also, error) {
	w := Write{Key: keyOf(d.lease.id), If: d.entry.number}
	rec := d.entry.rec
	also := Also{What: DidVerdict, Why: d.why(), Service: rec.Service, ID: rec.ID}
	switch d.act {
	case drop, lapse:
		also.What = DidDeregister
		return w, also, nil
	case restore:
		rec.revive()
	case suspect:
		rec.say(Word{By: d.by, Health: mesh.Suspect, Output: "vanished together with most of the service", At: now})
	case fail, nothing:
		rec.say(Word{By: d.by, Health: mesh.Failing, Output: d.why(), At: now})
	}
	var err error
	w.Data, err = Encode(rec)
	return w, also, err
}

// why is the reason of a deed in words.
func (d deed) why() string {
	switch {
	case d.act == restore:
		return "heard again"
	case d.act == suspect:
		return "most of the service vanished"
	case d.by == BySession:
		return "session lost"
	}
	return "lease lapsed"
}

func logDeeds(log *slog.Logger, deeds []deed) {
	for _, d := range deeds {
		attrs := []any{slog.String("service", d.entry.rec.Service), slog.String("instance", d.lease.id),
			slog.String("reason", d.why())}
		switch d.act {
		case drop, lapse:
			log.Info("instance expired", attrs...)
		case restore:
			log.Info("instance is back", attrs...)
		case fail, suspect, nothing:
			log.Info("instance vanished", attrs...)
		}
	}
}

// lookAgain lets the timers judge the leases anew after a pause.
func (r *Registry) lookAgain(deeds []deed, pause time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Now().Add(pause)
	for _, d := range deeds {
		d.lease.dropping = false
		if r.leases[d.lease.id] == d.lease {
			r.scheduleLocked(d.lease, at)
		}
	}
}

// overlay gives vanished instances their verdict in the snapshots of this node alone, while the store
// cannot be told.
func (r *Registry) overlay(deeds []deed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	over := make(map[string]*entry)
	for _, d := range deeds {
		h := mesh.Failing
		if d.act == suspect {
			h = mesh.Suspect
		}
		e := r.entries[d.lease.id]
		if e == d.entry && d.act != restore && e.inst.Health != h {
			over[d.lease.id] = e.overlay(r.cfg.NodeID, Word{By: d.by, Health: h,
				Output: "vanished; the store cannot be told now", At: time.Now().UTC()})
		}
	}
	r.putLocked(over)
}

// overlay returns a copy of the entry that hands out a word which its record does not have.
func (e *entry) overlay(node string, w Word) *entry {
	next := *e
	next.overlaid = true
	rec := e.rec
	rec.say(w)
	next.inst = rec.instance(node, e.inst.Revision)
	return &next
}

// plain returns a copy of the entry that hands out its record.
func (e *entry) plain(node string) *entry {
	next := *e
	next.overlaid = false
	next.inst = e.rec.instance(node, e.inst.Revision)
	return &next
}

// putLocked replaces entries of the mirror and publishes them.
func (r *Registry) putLocked(entries map[string]*entry) {
	if len(entries) == 0 {
		return
	}
	snap := r.view.Load().snap
	services := maps.Clone(snap.Services)
	for id, e := range entries {
		r.replaceLocked(id, e, services)
	}
	r.publishLocked(&mesh.Snapshot{Revision: snap.Revision, Stale: snap.Stale, Services: services})
}
