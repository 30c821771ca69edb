package toska

import (
	"context"
	"errors"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// saying is a word on the instance's health that the mesh has to hear.
type saying struct {
	mesh.Report
	told  bool       // to the current session; guarded by Keeper.mu
	first chan error // has room for what the first attempt came to
}

func newSaying(rep mesh.Report) *saying { return &saying{Report: rep, first: make(chan error, 1)} }

// settle tells who waits what the first attempt came to. Later ones, and nobody's word, are ignored.
func (w *saying) settle(err error) {
	if w == nil {
		return
	}
	select {
	case w.first <- err:
	default:
	}
}

// Report tells the mesh the instance's own verdict, now and after each new registration, until the mesh has
// heard it or a newer one takes its place. The error is that of the first attempt; one of the kind
// mesh.ErrUnavailable means that it is told as soon as the mesh answers again.
func (k *Keeper) Report(ctx context.Context, rep mesh.Report) error {
	w := newSaying(rep)
	k.mu.Lock()
	was, s := k.said, k.session
	k.said = w
	k.mu.Unlock()
	was.settle(nil)
	if s == nil {
		return unreached("report the health of", k.registration.ID)
	}
	k.wake()
	select {
	case err := <-w.first:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Drain takes the instance out of rotation and leaves it registered, now and after each new registration. An
// error of the kind mesh.ErrUnavailable means that it is told as soon as the mesh answers again.
func (k *Keeper) Drain(ctx context.Context) error {
	k.mu.Lock()
	k.draining = true
	inst := k.instance
	k.mu.Unlock()
	if inst.ID == "" {
		return unreached("drain", k.registration.ID)
	}
	// An instance whose session is broken is drained as well: the mesh still sends it requests.
	err := k.drain(ctx, inst)
	if err != nil {
		k.wake()
	}
	return err
}

func (k *Keeper) drain(ctx context.Context, inst mesh.Instance) error {
	err := k.discovery.Drain(ctx, mesh.Ref{ID: inst.ID, Incarnation: inst.Incarnation})
	if err == nil {
		k.mu.Lock()
		k.drained = inst.Incarnation
		k.mu.Unlock()
	}
	return err
}

// wake makes hold tell the mesh what it has to say.
func (k *Keeper) wake() {
	select {
	case k.news <- struct{}{}:
	default:
	}
}

// tell tells the mesh what the session has not heard yet.
func (k *Keeper) tell(ctx context.Context, s held) error {
	k.mu.Lock()
	w, inst := k.said, k.instance
	drain := k.draining && k.drained != inst.Incarnation
	report := w != nil && !w.told
	k.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var errs []error
	if drain {
		err := k.drain(ctx, inst)
		// Why there is no such incarnation any more, the session is about to say.
		if !errors.Is(err, mesh.ErrNotFound) && !errors.Is(err, mesh.ErrStale) {
			errs = append(errs, err)
		}
	}
	if report {
		err := s.Report(ctx, w.Report)
		k.mu.Lock()
		w.told = err == nil
		k.mu.Unlock()
		w.settle(err)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
