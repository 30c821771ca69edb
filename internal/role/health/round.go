package health

import (
	"sync"

	"github.com/toska-mesh/toska-mesh/internal/signal/probe"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// round is one run of the role.
type round struct {
	h         *Health
	scheduler *probe.Scheduler
	lanes     [lanes]lane

	snap *mesh.Snapshot // guarded by Health.mu

	mu   sync.Mutex
	said map[string]word // guarded by mu; the last word of each target's probes, by id
}

// word is what is to be said of an instance.
type word struct {
	ref mesh.Ref
	rep mesh.Report
}

func newRound(h *Health) *round {
	r := &round{h: h, said: map[string]word{}}
	for i := range r.lanes {
		r.lanes[i] = lane{judge: h.ports.Judge, log: h.ports.Log, wake: make(chan struct{}, 1), words: map[string]word{}}
	}
	r.scheduler = probe.New(h.ports.Prober, &h.meter, probe.Share(h.cfg.Workers), r.changed)
	return r
}

// revision is that of the snapshot seen last.
func (r *round) revision() mesh.Revision {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	if r.snap == nil {
		return mesh.Revision{}
	}
	return r.snap.Revision
}

// changed hands a changed word on.
func (r *round) changed(t probe.Target, rep mesh.Report) {
	w := word{mesh.Ref{ID: t.ID, Incarnation: t.Incarnation}, rep}
	r.mu.Lock()
	r.said[t.ID] = w
	r.mu.Unlock()
	r.hand(w)
	if rep.Health == mesh.Failing {
		r.h.ports.Log.Warn("probes fail", "service", t.Service, "instance", t.ID, "target", t.String(), "output", rep.Output)
	}
}

// apply puts what the snapshot and the file say in force. It is called with Health.mu held.
func (r *round) apply(checks map[string]mesh.Check) {
	if r.snap == nil {
		return
	}
	var targets []probe.Target
	known := make(map[string]uint64)
	for _, list := range r.snap.Services {
		for _, i := range list {
			if i.Node != r.h.cfg.NodeID {
				continue
			}
			check, ok := r.h.cfg.choose(i, checks)
			if !ok {
				r.takeBack(i)
				continue
			}
			targets = append(targets, probe.Target{Service: i.Service, ID: i.ID, Incarnation: i.Incarnation,
				Address: i.Address, Check: check, Failing: evidence(i) == mesh.Failing})
			known[i.ID] = i.Incarnation
			r.remind(i)
		}
	}
	r.scheduler.Set(targets)
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, w := range r.said {
		if known[id] != w.ref.Incarnation {
			delete(r.said, id)
		}
	}
}

// evidence is the word of probes that the registry has; passing if it has none.
func evidence(i *mesh.Instance) mesh.Health {
	for _, e := range i.Evidence {
		if e.Source == mesh.SourceProbe {
			return e.Health
		}
	}
	return mesh.Passing
}

// takeBack unsays the word of probes that are not made any more: nobody else would, and the instance would
// stay out for good.
func (r *round) takeBack(i *mesh.Instance) {
	if evidence(i) != mesh.Passing {
		r.hand(word{mesh.Ref{ID: i.ID, Incarnation: i.Incarnation}, mesh.Report{Output: "is not probed any more"}})
	}
}

// remind says once more what the registry should know and does not: a store that was restored may have
// lost it.
func (r *round) remind(i *mesh.Instance) {
	r.mu.Lock()
	w, ok := r.said[i.ID]
	r.mu.Unlock()
	if ok && w.ref.Incarnation == i.Incarnation && w.rep.Health != evidence(i) {
		r.hand(w)
	}
}
