package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// maxTries is how often a change is tried again that lost against another one.
const maxTries = 16

// Register adds an instance, or a new incarnation of one, under a Leased or Permanent lifetime. It
// returns when the change is durable and in the local snapshot.
func (r *Registry) Register(ctx context.Context, reg mesh.Registration) (mesh.Instance, error) {
	if reg.Lifetime == mesh.Held {
		fields := append(wrongFields(reg, r.cfg.Names), mesh.FieldError{Field: "lifetime",
			Problem: "held needs a session (open one), or choose leased or permanent"})
		return mesh.Instance{}, invalid(reg, fields)
	}
	inst, err := r.register(ctx, reg, 0)
	if err != nil {
		return mesh.Instance{}, err
	}
	return *inst, nil
}

// register writes a new incarnation, for a caller that still believes in the one to resume, if any.
func (r *Registry) register(ctx context.Context, reg mesh.Registration, resume uint64) (*mesh.Instance, error) {
	caller := identity.FromContext(ctx)
	first, err := r.admit(ctx, caller, reg)
	if err != nil {
		return nil, err
	}
	for range maxTries {
		was, number, err := r.claim(caller, first.ID, reg.Owner, resume)
		if err != nil {
			return nil, err
		}
		rec := first.after(was)
		rev, err := r.write(ctx, rec, number, Entry{What: DidRegister, Who: whoCalls(caller, r.cfg.NodeID)})
		switch {
		case err == nil:
			r.reach(ctx, rev)
			rec.Incarnation = rev.Number
			r.log.Debug("instance registered", slog.String("service", rec.Service),
				slog.String("instance", rec.ID), slog.String("revision", rev.String()))
			return rec.instance(r.cfg.NodeID, rev), nil
		case !errors.Is(err, mesh.ErrConflict):
			return nil, fmt.Errorf("register %s: %w", rec.ID, err)
		case !r.moved(ctx, rec.ID, number):
			return nil, contended(ctx, rec.ID)
		}
	}
	return nil, contended(ctx, first.ID)
}

// after returns the record with what a new incarnation of the same run keeps of the one before: it was told
// to the run and not to the incarnation.
func (r Record) after(was *entry) Record {
	if was == nil || r.Owner == "" || was.rec.Owner != r.Owner {
		return r
	}
	r.Draining = was.rec.Draining
	if edits := was.rec.Edits; len(edits) > 0 && len(wrongMetadata(over(r.Metadata, edits))) == 0 {
		r.edit(edits)
	}
	return r
}

// admit checks a registration and returns the record to write for it.
func (r *Registry) admit(ctx context.Context, caller identity.Caller, reg mesh.Registration) (Record, error) {
	fields := wrongFields(reg, r.cfg.Names)
	address, loopback := place(reg.Address, caller.Addr, r.cfg.NodeID)
	fields = append(fields, r.circle(ctx, address, circles{reg.Port, reg.Check, reg.Metadata})...)
	if err := invalid(reg, fields); err != nil {
		return Record{}, err
	}
	rec := Record{
		ID: reg.ID, Service: reg.Service, Address: address, Loopback: loopback, Port: reg.Port,
		Metadata: maps.Clone(reg.Metadata), Check: clampCheck(reg.Check), Lifetime: reg.Lifetime,
		Registrar: caller.Role.String(), Owner: reg.Owner, Node: r.cfg.NodeID, RegisteredAt: time.Now().UTC(),
	}
	if rec.ID == "" {
		rec.ID = newID(reg.Service)
	}
	if reg.InitiallyFailing {
		rec.Began, rec.Health = mesh.Failing, mesh.Failing
	}
	if reg.Lifetime == mesh.Leased {
		rec.TTL = reg.TTL
	}
	return rec, nil
}

// newID makes an id that begins with the service's name, for people.
func newID(service string) string {
	const most = 100
	name := strings.TrimLeft(mesh.ServiceKey(service), "._-")
	if name == "" {
		name = "instance"
	}
	return name[:min(len(name), most)] + "-" + strings.ToLower(rand.Text()[:12])
}

// claim returns the condition for writing a new incarnation of id, and the entry that it replaces, if the
// caller may and nobody else has taken the id since the incarnation to resume.
func (r *Registry) claim(caller identity.Caller, id, owner string, resume uint64) (was *entry, number uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.running {
		return nil, 0, notRunning()
	}
	if d, ok := r.damaged[keyOf(id)]; ok {
		if !caller.MayChange(damagedRegistrar) {
			return nil, 0, unreadable(id)
		}
		return nil, d.number, nil
	}
	e := r.entries[id]
	if e == nil {
		return nil, 0, nil
	}
	if !caller.MayChange(e.rec.Registrar) {
		return nil, 0, forbidden(id, e.rec.Registrar)
	}
	if resume != 0 && !sameRun(owner, e.rec.Owner) && r.takenLocked(e, resume) {
		return nil, 0, stale(id)
	}
	return e, e.number, nil
}

// takenLocked reports whether an entry is later than an incarnation. In a store that began anew the numbers
// say nothing, but who holds a session came after it.
func (r *Registry) takenLocked(e *entry, incarnation uint64) bool {
	l := r.leases[e.rec.ID]
	return e.rec.Incarnation > incarnation ||
		e.rec.Incarnation != incarnation && l != nil && l.incarnation == e.rec.Incarnation && l.session != nil
}

// sameRun reports whether two owners may be one run of a program: who does not say may be any.
func sameRun(a, b string) bool { return a == "" || b == "" || a == b }

// find returns the entry that ref names, if the caller may change it.
func (r *Registry) find(caller identity.Caller, ref mesh.Ref) (*entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.findLocked(caller, ref)
}

func (r *Registry) findLocked(caller identity.Caller, ref mesh.Ref) (*entry, error) {
	if !r.running {
		return nil, notRunning()
	}
	e := r.entries[ref.ID]
	if e == nil {
		return nil, gone(ref.ID)
	}
	if !caller.MayChange(e.rec.Registrar) {
		return nil, forbidden(ref.ID, e.rec.Registrar)
	}
	if ref.Incarnation != 0 && ref.Incarnation != e.rec.Incarnation {
		return nil, stale(ref.ID)
	}
	return e, nil
}

// edit changes a copy of a record, or returns false to leave it as it is.
type edit func(*Record) bool

// change applies fn to the record that ref names, and returns when it is durable and in the local
// snapshot. A nil fn removes the record. The journal names the caller, unless je names somebody.
func (r *Registry) change(ctx context.Context, caller identity.Caller, ref mesh.Ref, je Entry, fn edit) error {
	if je.Who == "" {
		je.Who = whoCalls(caller, r.cfg.NodeID)
	}
	for range maxTries {
		e, err := r.find(caller, ref)
		if err != nil {
			return err
		}
		var rev mesh.Revision
		rec := e.rec
		switch {
		case fn == nil:
			rev, err = r.remove(ctx, rec, e.number, je)
		case fn(&rec):
			rev, err = r.write(ctx, rec, e.number, je)
		default:
			return nil
		}
		switch {
		case err == nil:
			r.reach(ctx, rev)
			return nil
		case !errors.Is(err, mesh.ErrConflict):
			return fmt.Errorf("%s %s: %w", je.What, ref.ID, err)
		case !r.moved(ctx, ref.ID, e.number):
			return contended(ctx, ref.ID)
		}
	}
	return contended(ctx, ref.ID)
}

// write commits one record and its journal entry.
func (r *Registry) write(ctx context.Context, rec Record, number uint64, je Entry) (mesh.Revision, error) {
	data, err := Encode(rec)
	if err != nil {
		return mesh.Revision{}, err
	}
	return r.commitOne(ctx, Write{Key: keyOf(rec.ID), Data: data, If: number}, rec, je)
}

// remove deletes one record.
func (r *Registry) remove(ctx context.Context, rec Record, number uint64, je Entry) (mesh.Revision, error) {
	return r.commitOne(ctx, Write{Key: keyOf(rec.ID), If: number}, rec, je)
}

func (r *Registry) commitOne(ctx context.Context, w Write, rec Record, je Entry) (mesh.Revision, error) {
	je.At, je.Service, je.ID = time.Now().UTC(), rec.Service, rec.ID
	return r.store.Commit(ctx, Txn{Writes: []Write{w}, Journal: je.encode()})
}

// moved waits until the mirror has another value of id than the one with the given number.
func (r *Registry) moved(ctx context.Context, id string, number uint64) bool {
	return r.await(ctx, func(*view) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		now := uint64(0)
		if e := r.entries[id]; e != nil {
			now = e.number
		} else if d, ok := r.damaged[keyOf(id)]; ok {
			now = d.number
		}
		return now != number || !r.running
	})
}

// Drain takes the instance out of rotation and leaves it registered.
func (r *Registry) Drain(ctx context.Context, ref mesh.Ref) error {
	return r.change(ctx, identity.FromContext(ctx), ref, Entry{What: DidDrain, Why: "request"}, func(rec *Record) bool {
		was := rec.Draining
		rec.Draining = true
		return !was
	})
}

// Deregister removes the instance for good.
func (r *Registry) Deregister(ctx context.Context, ref mesh.Ref) error {
	caller := identity.FromContext(ctx)
	if done, err := r.discard(ctx, caller, ref.ID); done {
		return err
	}
	return r.change(ctx, caller, ref, Entry{What: DidDeregister, Why: "request"}, nil)
}

// discard removes the record of id if it is damaged, and reports whether it was.
func (r *Registry) discard(ctx context.Context, caller identity.Caller, id string) (bool, error) {
	r.mu.Lock()
	d, ok := r.damaged[keyOf(id)]
	running := r.running
	r.mu.Unlock()
	switch {
	case !ok || !running:
		return false, nil
	case !caller.MayChange(damagedRegistrar):
		return true, unreadable(id)
	}
	je := Entry{What: DidDeregister, Why: "its record is damaged", Who: whoCalls(caller, r.cfg.NodeID)}
	rev, err := r.remove(ctx, Record{ID: id}, d.number, je)
	if err != nil {
		return true, fmt.Errorf("%s %s: %w", je.What, id, err)
	}
	r.reach(ctx, rev)
	return true, nil
}

func notRunning() error {
	return unavailable("discovery is not running on this node now; try again shortly")
}

func gone(id string) error {
	return &mesh.Error{Kind: mesh.ErrNotFound, Code: mesh.CodeInstanceNone,
		Detail: "no instance has the id " + shorten(id)}
}

// lapsed ends the session of an instance that was not heard in time.
func lapsed(id string) error {
	return unavailable("the lease of instance " + shorten(id) + " lapsed: it was not renewed in time; open a session again")
}

func stale(id string) error {
	return &mesh.Error{Kind: mesh.ErrStale, Code: mesh.CodeStale,
		Detail: "instance " + shorten(id) + " was registered again since; this incarnation of it no longer counts"}
}

// replaced tells the holder of a session that another one took its place. A run that replaced itself, because
// an answer was lost on the way, may go on.
func replaced(id, was, now string) error {
	if was != "" && was == now {
		return unavailable("the session of " + shorten(id) + " was opened again; this one is over")
	}
	return stale(id)
}

// damagedRegistrar stands for whoever registered an instance whose record cannot be read: it is nobody,
// so that an admin alone may change it.
const damagedRegistrar = ""

func unreadable(id string) error {
	return &mesh.Error{Kind: mesh.ErrForbidden, Code: mesh.CodeForbidden,
		Detail: fmt.Sprintf("the record of instance %s is damaged, and who registered it cannot be told; "+
			"let an admin deregister the id, or register under another one", shorten(id))}
}

func forbidden(id, registrar string) error {
	return &mesh.Error{Kind: mesh.ErrForbidden, Code: mesh.CodeForbidden,
		Detail: fmt.Sprintf("instance %s was registered by a caller of the kind %q, and only that kind or an admin may change it",
			shorten(id), registrar)}
}

// contended is the end of a change that could not be made against others, or against a stale mirror.
func contended(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("change %s: %w", id, err)
	}
	return unavailable("instance " + shorten(id) + " is being changed by others, or this node lags behind the store; try again")
}
