package registry

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// view is a published snapshot and the channel that closes when the next one is there. The snapshot is
// nil until the record was loaded for the first time.
type view struct {
	snap *mesh.Snapshot
	// nth counts the publications.
	nth uint64
	// changed is closed by publishLocked.
	changed chan struct{}
}

func (v *view) revision() mesh.Revision {
	if v.snap == nil {
		return mesh.Revision{}
	}
	return v.snap.Revision
}

func (r *Registry) publishLocked(s *mesh.Snapshot) {
	old := r.view.Load()
	r.view.Store(&view{snap: s, nth: old.nth + 1, changed: make(chan struct{})})
	close(old.changed)
}

// markStaleLocked publishes the last snapshot as stale, and reports whether it was not before.
func (r *Registry) markStaleLocked() bool {
	v := r.view.Load()
	if v.snap == nil || v.snap.Stale {
		return false
	}
	r.publishLocked(&mesh.Snapshot{Revision: v.snap.Revision, Stale: true, Services: v.snap.Services})
	return true
}

// load replaces the mirror by what is stored. What did not change keeps its instances and leases.
func (r *Registry) load(ctx context.Context) (mesh.Revision, error) {
	rev, values, err := r.store.Load(ctx)
	if err != nil {
		return mesh.Revision{}, err
	}
	found, err := r.adopt(rev, values)
	if err != nil {
		return mesh.Revision{}, err
	}
	r.logDamage(found)
	return rev, nil
}

// adopt makes the values the mirror, and returns those that are damaged.
func (r *Registry) adopt(rev mesh.Revision, values []Value) ([]Damage, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if have := r.view.Load().revision(); rev.Before(have) {
		return nil, fmt.Errorf(
			"the store is at revision %s and was at %s before: it lost writes; recover it from a backup", rev, have)
	}
	var found []Damage
	old := r.entries
	r.entries = make(map[string]*entry, len(values))
	r.damaged = make(map[string]damage)
	for _, v := range values {
		id, e, err := r.readLocked(v)
		if err != nil {
			found = append(found, Damage{Key: v.Key, Reason: err.Error()})
			continue
		}
		if was := old[id]; was != nil && was.number == e.number && was.inst.Revision == v.Revision {
			e = was
		}
		r.entries[id] = e
		r.trackLocked(id, e)
	}
	for id := range r.leases {
		if r.entries[id] == nil {
			r.untrackLocked(id, r.whyGoneLocked(id))
		}
	}
	r.running = true
	r.publishLocked(&mesh.Snapshot{Revision: rev, Services: group(r.entries)})
	return found, nil
}

// readLocked decodes a value, or puts it into quarantine and returns a nil entry and what is wrong.
func (r *Registry) readLocked(v Value) (id string, e *entry, err error) {
	id, rec, err := decodeValue(v)
	if err != nil {
		r.damaged[v.Key] = damage{number: v.Revision.Number, reason: err.Error()}
		return id, nil, err
	}
	delete(r.damaged, v.Key)
	return id, &entry{rec: rec, number: v.Revision.Number, inst: rec.instance(r.cfg.NodeID, v.Revision)}, nil
}

func (r *Registry) logDamage(found []Damage) {
	for _, d := range found {
		r.log.Error("registry record is damaged and not served; let an admin deregister or register the instance again",
			slog.String("key", d.Key), slog.String("error", d.Reason))
	}
}

// group builds the services of a snapshot from nothing.
func group(entries map[string]*entry) map[string][]*mesh.Instance {
	services := make(map[string][]*mesh.Instance)
	for _, e := range entries {
		key := mesh.ServiceKey(e.rec.Service)
		services[key] = append(services[key], e.inst)
	}
	for _, list := range services {
		slices.SortFunc(list, func(a, b *mesh.Instance) int { return strings.Compare(a.ID, b.ID) })
	}
	return services
}

// apply brings commits, of which there is at least one, into the mirror and publishes the last of them.
func (r *Registry) apply(commits []Commit) {
	r.mu.Lock()
	var found []Damage
	services := maps.Clone(r.view.Load().snap.Services)
	for _, c := range commits {
		for _, v := range c.Changes {
			if err := r.applyValueLocked(v, services); err != nil {
				found = append(found, Damage{Key: v.Key, Reason: err.Error()})
			}
		}
	}
	r.publishLocked(&mesh.Snapshot{Revision: commits[len(commits)-1].Revision, Services: services})
	r.mu.Unlock()
	r.logDamage(found)
}

// applyValueLocked returns what is wrong with a damaged value.
func (r *Registry) applyValueLocked(v Value, services map[string][]*mesh.Instance) error {
	var id string
	var e *entry
	var err error
	if v.Data != nil {
		id, e, err = r.readLocked(v)
	} else {
		id = strings.TrimPrefix(v.Key, keyPrefix)
		delete(r.damaged, v.Key)
	}
	r.replaceLocked(id, e, services)
	if e == nil {
		r.untrackLocked(id, r.whyGoneLocked(id))
		return err
	}
	r.trackLocked(id, e)
	return nil
}

// replaceLocked puts e, or nothing, where id was in the mirror and in the services, of which it copies
// the lists that it changes.
func (r *Registry) replaceLocked(id string, e *entry, services map[string][]*mesh.Instance) {
	if was := r.entries[id]; was != nil {
		key := mesh.ServiceKey(was.rec.Service)
		services[key] = without(services[key], id)
		if len(services[key]) == 0 {
			delete(services, key)
		}
	}
	if e == nil {
		delete(r.entries, id)
		return
	}
	r.entries[id] = e
	key := mesh.ServiceKey(e.rec.Service)
	services[key] = with(services[key], e.inst)
}

func byID(inst *mesh.Instance, id string) int { return strings.Compare(inst.ID, id) }

// without returns a copy of the sorted list that lacks the id.
func without(list []*mesh.Instance, id string) []*mesh.Instance {
	i, ok := slices.BinarySearchFunc(list, id, byID)
	if !ok {
		return list
	}
	return slices.Concat(list[:i], list[i+1:])
}

// with returns a copy of the sorted list that has the instance as well.
func with(list []*mesh.Instance, inst *mesh.Instance) []*mesh.Instance {
	i, _ := slices.BinarySearchFunc(list, inst.ID, byID)
	out := make([]*mesh.Instance, 0, len(list)+1)
	out = append(out, list[:i]...)
	out = append(out, inst)
	return append(out, list[i:]...)
}

// Snapshot returns the last published snapshot. Until the record was loaded for the first time it is
// mesh.ErrUnavailable.
func (r *Registry) Snapshot(context.Context) (*mesh.Snapshot, error) {
	if s := r.view.Load().snap; s != nil {
		return s, nil
	}
	return nil, unavailable("the registry is not loaded yet; try again shortly")
}

// Instance returns one instance by id, from the last published snapshot.
func (r *Registry) Instance(ctx context.Context, id string) (mesh.Instance, error) {
	if _, err := r.Snapshot(ctx); err != nil {
		return mesh.Instance{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries[id]; e != nil {
		return *e.inst, nil
	}
	return mesh.Instance{}, gone(id)
}

// Watch yields the current snapshot if it is newer than since, or if since is a revision that this store
// has not come to (after a recovery, say), and then each publication: a newer revision, or the same one when it became stale, fresh again, or failing instances are known that the
// store could not be told of. A slow reader skips. The sequence ends when ctx ends.
func (r *Registry) Watch(ctx context.Context, since mesh.Revision) iter.Seq2[*mesh.Snapshot, error] {
	return func(yield func(*mesh.Snapshot, error) bool) {
		seen := r.view.Load()
		if seen.snap == nil {
			since = mesh.Revision{} // whatever is loaded is news
		} else if since != seen.snap.Revision {
			since = seen.snap.Revision
			if !yield(seen.snap, nil) {
				return
			}
		}
		for {
			select {
			case <-seen.changed:
			case <-ctx.Done():
				return
			}
			seen = r.view.Load()
			if ctx.Err() != nil || seen.snap == nil || seen.snap.Revision.Before(since) {
				continue
			}
			since = seen.snap.Revision
			if !yield(seen.snap, nil) {
				return
			}
		}
	}
}

// reach waits until the published snapshot is at rev, or ctx ends, or a while has passed: what was
// committed is true in any case.
func (r *Registry) reach(ctx context.Context, rev mesh.Revision) bool {
	return r.await(ctx, func(v *view) bool { return !v.revision().Before(rev) })
}

// await waits until a published view satisfies ok. It is false if ctx ends or storeDeadline passes first.
func (r *Registry) await(ctx context.Context, ok func(*view) bool) bool {
	v := r.view.Load()
	if ok(v) {
		return true
	}
	t := time.NewTimer(storeDeadline)
	defer t.Stop()
	for {
		select {
		case <-v.changed:
		case <-ctx.Done():
			return false
		case <-t.C:
			return false
		}
		if v = r.view.Load(); ok(v) {
			return true
		}
	}
}
