package registry

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// session is a live tie to one incarnation. Whether it is the current one is told by its lease.
type session struct {
	r    *Registry
	inst mesh.Instance
	done chan struct{} // closed by lease.endSession
	err  error         // set before done is closed
}

// Open registers an instance and holds its session, or goes on with the incarnation to resume.
func (r *Registry) Open(ctx context.Context, reg mesh.Registration, resume uint64) (mesh.Session, error) {
	reg.Lifetime = mesh.Held
	if resume != 0 && reg.ID != "" {
		if s, err := r.resume(ctx, reg, resume); s != nil || err != nil {
			return s, err
		}
	}
	inst, err := r.register(ctx, reg, resume)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.running {
		return nil, notRunning()
	}
	if e := r.entries[inst.ID]; e != nil && e.rec.Incarnation > inst.Incarnation {
		return nil, replaced(inst.ID, reg.Owner, e.rec.Owner)
	}
	return r.attachLocked(inst, reg.Owner), nil
}

// resume goes on with the current incarnation. It returns nil if that is another one, or says anything
// else of itself, or if its time was up: the instance is then registered anew, unless its id has another
// owner by now.
func (r *Registry) resume(ctx context.Context, reg mesh.Registration, incarnation uint64) (mesh.Session, error) {
	caller := identity.FromContext(ctx)
	ref := mesh.Ref{ID: reg.ID, Incarnation: incarnation}
	r.mu.Lock()
	s, err := r.resumeLocked(caller, ref, reg)
	r.mu.Unlock()
	if s == nil {
		return nil, err
	}
	// Should the store not be there now, the timers make up for it.
	err = r.revive(ctx, caller, ref, "session resumed")
	if err != nil && !errors.Is(err, mesh.ErrUnavailable) {
		s.Close(false)
		return nil, err
	}
	return s, nil
}

func (r *Registry) resumeLocked(caller identity.Caller, ref mesh.Ref, reg mesh.Registration) (*session, error) {
	e, err := r.findLocked(caller, ref)
	switch {
	case errors.Is(err, mesh.ErrNotFound), errors.Is(err, mesh.ErrStale):
		return nil, nil
	case err != nil:
		return nil, err
	}
	l := r.leases[ref.ID]
	if l == nil || l.dropping || !r.says(caller, &e.rec, reg) {
		return nil, nil
	}
	return r.attachLocked(e.inst, e.rec.Owner), nil
}

// says reports whether a held record is what the registration would write.
func (r *Registry) says(caller identity.Caller, rec *Record, reg mesh.Registration) bool {
	address, loopback := place(reg.Address, caller.Addr, r.cfg.NodeID)
	check := clampCheck(reg.Check)
	return rec.Lifetime == mesh.Held && mesh.ServiceKey(rec.Service) == mesh.ServiceKey(reg.Service) &&
		rec.Address == address && rec.Loopback == loopback && rec.Port == reg.Port &&
		maps.Equal(rec.registered(), reg.Metadata) &&
		(rec.Check == nil) == (check == nil) && (check == nil || *rec.Check == *check)
}

// attachLocked makes a new session the one of the instance's lease, and ends an older one.
func (r *Registry) attachLocked(inst *mesh.Instance, owner string) *session {
	l := r.leases[inst.ID]
	if l == nil || l.incarnation != inst.Incarnation {
		l = r.newLeaseLocked(inst.ID, inst.Incarnation, owner, mesh.Held, mesh.LeaseTTL)
	}
	l.endSession(replaced(inst.ID, l.owner, owner))
	s := &session{r: r, inst: *inst, done: make(chan struct{})}
	l.session = s
	l.lost = time.Time{}
	l.renew(time.Now())
	r.scheduleLocked(l, time.Now())
	return s
}

// revive takes a soft word back, if there is one.
func (r *Registry) revive(ctx context.Context, caller identity.Caller, ref mesh.Ref, why string) error {
	return r.change(ctx, caller, ref, Entry{What: DidVerdict, Why: why}, (*Record).revive)
}

// Renew restarts the instance's lease, and takes back the verdict that a lapse gave.
func (r *Registry) Renew(ctx context.Context, ref mesh.Ref) error {
	return r.renew(ctx, identity.FromContext(ctx), ref)
}

func (r *Registry) renew(ctx context.Context, caller identity.Caller, ref mesh.Ref) error {
	by, err := r.hear(caller, ref)
	if err != nil || by != ByLease {
		return err
	}
	return r.revive(ctx, caller, ref, "lease renewed")
}

// hear restarts the lease and returns who gave the current verdict.
func (r *Registry) hear(caller identity.Caller, ref mesh.Ref) (Verdict, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, err := r.findLocked(caller, ref)
	if err != nil {
		return ByNobody, err
	}
	l := r.leases[ref.ID]
	if l == nil || l.dropping {
		return ByNobody, gone(ref.ID)
	}
	l.renew(time.Now())
	if e.overlaid {
		r.scheduleLocked(l, time.Now())
	}
	return e.rec.Verdict, nil
}

// ref names the session's incarnation.
func (s *session) ref() mesh.Ref {
	return mesh.Ref{ID: s.inst.ID, Incarnation: s.inst.Incarnation}
}

// insider is the caller of what a session does: it was authorised when it was opened.
func (s *session) insider() identity.Caller { return identity.Caller{Trusted: true} }

// Instance returns the registration as it was accepted, and whether the instance drains now.
func (s *session) Instance() mesh.Instance {
	inst := s.inst
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if e := s.r.entries[inst.ID]; e != nil && e.rec.Incarnation == inst.Incarnation {
		inst.Draining = e.rec.Draining
	}
	return inst
}

// Renew restarts the lease.
func (s *session) Renew(ctx context.Context) error {
	if err := s.current(); err != nil {
		return err
	}
	return s.explain(s.r.renew(ctx, s.insider(), s.ref()))
}

// Report renews, and changes the verdict if it differs.
func (s *session) Report(ctx context.Context, rep mesh.Report) error {
	if err := s.current(); err != nil {
		return err
	}
	return s.explain(s.r.report(ctx, s.insider(), s.ref(), rep))
}

// explain replaces the word that the instance is gone by the reason: a session outlives its instance
// only while a lapse is on its way to the store.
func (s *session) explain(err error) error {
	if !errors.Is(err, mesh.ErrNotFound) {
		return err
	}
	if ended := s.Err(); ended != nil {
		return ended
	}
	return lapsed(s.inst.ID)
}

// current returns why the session is not its instance's session any more.
func (s *session) current() error {
	if err := s.Err(); err != nil {
		return err
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if l := s.r.leases[s.inst.ID]; l == nil || l.session != s {
		return unavailable("the session of " + shorten(s.inst.ID) + " is closed")
	}
	return nil
}

// Done is closed when the session has ended for any reason but Close.
func (s *session) Done() <-chan struct{} { return s.done }

// Err tells why Done is closed, and is nil until then.
func (s *session) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Close lets go of the session. A lost one leaves the instance failing after a grace.
func (s *session) Close(lost bool) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	l := s.r.leases[s.inst.ID]
	if l == nil || l.session != s {
		return
	}
	l.session = nil
	now := time.Now()
	if !lost {
		l.deadline = now.Add(l.ttl)
		return
	}
	l.lost = now
	s.r.scheduleLocked(l, now.Add(mesh.SessionGrace))
}
