package toska

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// degraded is an error that does not make a service failing.
type degraded struct{ error }

// Unwrap returns the error that Degraded was given.
func (d *degraded) Unwrap() error { return d.error }

// Degraded makes an error of a health function say that the service is degraded instead of failing. nil stays
// nil.
func Degraded(err error) error {
	if err == nil {
		return nil
	}
	return &degraded{err}
}

// ownHealth is the service's own word on its health.
type ownHealth struct {
	ask     func(context.Context) error // nil: always passing
	timeout time.Duration
	log     *slog.Logger
	last    atomic.Pointer[word] // nil before the first
	pending chan outcome         // of a call that has not returned; used by one goroutine at a time
}

// outcome is what a call of the service's function returned.
type outcome struct{ err error }

// word is what the service said, and how long it took.
type word struct {
	mesh.Report
	took time.Duration
}

func newOwnHealth(ask func(context.Context) error, timeout time.Duration, log *slog.Logger) *ownHealth {
	return &ownHealth{ask: ask, timeout: timeout, log: log}
}

// now returns the service's last word; passing before the first and for a service that says none.
func (h *ownHealth) now() word {
	if w := h.last.Load(); w != nil {
		return *w
	}
	return word{}
}

// watch asks again at every interval, and hands on what differs from before.
func (h *ownHealth) watch(ctx context.Context, every time.Duration, last mesh.Report, tell func(context.Context, mesh.Report)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		rep := h.check(ctx)
		if ctx.Err() != nil {
			return
		}
		if rep != last {
			if rep.Health != last.Health {
				h.log.Warn("health of the service changed", "health", rep.Health, "was", last.Health, "output", rep.Output)
			}
			last = rep
			tell(ctx, rep)
		}
	}
}

// check asks once. While an earlier call has not returned, no other is made.
func (h *ownHealth) check(ctx context.Context) mesh.Report {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	err := h.answer(ctx)
	w := word{Report: judge(err), took: time.Since(began)}
	h.last.Store(&w)
	return w.Report
}

func (h *ownHealth) answer(ctx context.Context) error {
	select {
	case <-h.pending: // late: its words are of another time
		h.pending = nil
	default:
	}
	late := h.pending != nil
	if !late {
		h.pending = make(chan outcome, 1)
		// Nothing waits for a function that never returns: it ends with the program.
		go func(result chan<- outcome) { result <- outcome{h.call(ctx)} }(h.pending)
	}
	select {
	case o := <-h.pending:
		h.pending = nil
		if !late {
			return o.err
		}
	case <-ctx.Done():
	}
	return fmt.Errorf("the health function did not return within %v", h.timeout)
}

func (h *ownHealth) call(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			h.log.Error("health function panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("the health function panicked: %v", p)
		}
	}()
	return h.ask(ctx)
}

func judge(err error) mesh.Report {
	var d *degraded
	switch {
	case err == nil:
		return mesh.Report{Health: mesh.Passing}
	case errors.As(err, &d):
		return mesh.Report{Health: mesh.Degraded, Output: err.Error()}
	}
	return mesh.Report{Health: mesh.Failing, Output: err.Error()}
}
