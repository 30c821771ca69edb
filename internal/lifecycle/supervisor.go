package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// DefaultWantWait is how long a unit waits for what it wants, unless Supervisor.WantWait says otherwise.
const DefaultWantWait = 2 * time.Second

// Supervisor starts units in the order of their needs and wants, restarts those that fail and stops
// them in reverse.
type Supervisor struct {
	// WantWait is how long a unit's start waits for what it wants to become ready. It may be changed
	// before Run; zero waits not at all.
	WantWait time.Duration

	log   *slog.Logger
	units []*unit // in the order of their start

	mu       sync.Mutex    // guards all below, and the status of each unit
	changed  chan struct{} // closed and replaced whenever a status changes
	ran      bool
	starting bool
	startErr error // the failure that ended the start
}

// unit is a Unit with its life.
type unit struct {
	Unit
	status UnitStatus // guarded by Supervisor.mu
	stop   context.CancelFunc
	done   chan struct{} // closed by supervise
	err    error         // what went wrong while stopping; readable once done is closed
}

// NewSupervisor returns a supervisor for the units. It is an error that names them if two share a
// name, if one needs another that is not there, or if they depend on each other in a circle.
func NewSupervisor(log *slog.Logger, units ...Unit) (*Supervisor, error) {
	order, err := inOrder(units)
	if err != nil {
		return nil, err
	}
	s := &Supervisor{WantWait: DefaultWantWait, log: log, changed: make(chan struct{}), starting: true}
	now := time.Now()
	for _, u := range order {
		s.units = append(s.units, &unit{Unit: u, status: UnitStatus{Name: u.Name, State: Starting, Since: now}})
	}
	return s, nil
}

// Run starts the units, calls ready once all of them are, and blocks until ctx ends; then it stops
// them, each after everything that needs or wants it has ended. It returns nil after an orderly stop,
// what went wrong while stopping otherwise. If a unit fails before it was ready for the first time,
// Run stops the others and returns that unit's error with its name.
func (s *Supervisor) Run(ctx context.Context, ready func()) error {
	s.mu.Lock()
	again := s.ran
	s.ran = true
	s.mu.Unlock()
	if again {
		return errors.New("a supervisor runs once")
	}
	err := s.start(ctx)
	if err == nil && ctx.Err() == nil {
		ready()
		<-ctx.Done()
	}
	return errors.Join(err, s.stop())
}

// Status returns the state of every unit in the order of their start.
func (s *Supervisor) Status() []UnitStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]UnitStatus, len(s.units))
	for i, u := range s.units {
		out[i] = u.status
	}
	return out
}

// start launches every unit and returns when all are ready, when ctx ends (nil), or with the failure
// that ended the start.
func (s *Supervisor) start(ctx context.Context) error {
	// A unit's context outlives ctx: it is cancelled in its turn, not when ctx is.
	base := context.WithoutCancel(ctx)
	for _, u := range s.units {
		if err := s.await(ctx, 0, u.Needs); err != nil || ctx.Err() != nil {
			return err
		}
		if err := s.await(ctx, max(s.WantWait, 1), u.Wants); err != nil || ctx.Err() != nil {
			return err
		}
		s.launch(base, u)
	}
	all := make([]string, len(s.units))
	for i, u := range s.units {
		all[i] = u.Name
	}
	err := s.await(ctx, 0, all)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starting = false
	if err == nil {
		err = s.startErr
	}
	return err
}

// await returns when all the named units are ready, when ctx ends, after the limit if it is not zero,
// or with the failure that ended the start. Names that are not known count as ready.
func (s *Supervisor) await(ctx context.Context, limit time.Duration, names []string) error {
	var expired <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		expired = t.C
	}
	for {
		s.mu.Lock()
		changed, err := s.changed, s.startErr
		settled := !slices.ContainsFunc(s.units, func(u *unit) bool {
			return u.status.State != Ready && slices.Contains(names, u.Name)
		})
		s.mu.Unlock()
		if err != nil || settled {
			return err
		}
		select {
		case <-changed:
		case <-expired:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Supervisor) launch(base context.Context, u *unit) {
	s.log.Debug("unit starting", "unit", u.Name)
	var ctx context.Context
	ctx, u.stop = context.WithCancel(base)
	u.done = make(chan struct{})
	go s.supervise(ctx, u)
}

// stop ends the launched units in reverse, waiting for each before the next.
func (s *Supervisor) stop() error {
	var errs []error
	for _, u := range slices.Backward(s.units) {
		if u.done == nil {
			s.set(u, Stopped)
			continue
		}
		s.mu.Lock()
		over := u.status.State == Failed
		s.mu.Unlock()
		if !over {
			s.set(u, Stopping)
		}
		u.stop()
		<-u.done
		if u.err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", u.Name, u.err))
		}
	}
	return errors.Join(errs...)
}

// supervise runs u again and again until ctx ends or u must not be started again.
func (s *Supervisor) supervise(ctx context.Context, u *unit) {
	defer close(u.done)
	var pause backoff
	for {
		wasReady, err := s.attempt(ctx, u)
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, context.Canceled) {
				u.err = err
			}
			s.set(u, Stopped)
			return
		}
		if err == nil && wasReady == 0 {
			err = errEndedEarly
		} else if err == nil {
			err = errEndedAlone
		}
		if !s.mayRestart(u, wasReady > 0, err) {
			return
		}
		delay := pause.next(wasReady)
		s.log.Warn("unit failed and will be restarted", "unit", u.Name, "err", err, "pause", delay)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			s.set(u, Stopped)
			return
		}
		s.mu.Lock()
		u.status.Restarts++
		s.mu.Unlock()
	}
}

// attempt runs u once and returns for how long it was ready, at least 1 ns if it was at all.
func (s *Supervisor) attempt(ctx context.Context, u *unit) (time.Duration, error) {
	begun := time.Now()
	var mu sync.Mutex // guards readyAt and over, against a ready that is called late
	var readyAt time.Time
	over := false
	ready := func() {
		mu.Lock()
		counts := !over && readyAt.IsZero() && ctx.Err() == nil
		if counts {
			readyAt = time.Now()
			s.set(u, Ready)
		}
		mu.Unlock()
		if counts {
			s.log.Debug("unit ready", "unit", u.Name, "took", time.Since(begun))
		}
	}
	err := contain(s.log, u.Name, func() error { return u.Run(ctx, ready) })
	mu.Lock()
	defer mu.Unlock()
	over = true
	if readyAt.IsZero() {
		return 0, err
	}
	return max(time.Since(readyAt), 1), err
}

// mayRestart records that u failed and reports whether it is to be started again.
func (s *Supervisor) mayRestart(u *unit, wasReady bool, err error) bool {
	permanent := errors.Is(err, ErrPermanent)
	s.mu.Lock()
	u.status.Reason = err.Error()
	// A unit that was ready once is restarted even while others still start.
	first := s.starting && u.status.Restarts == 0 && !wasReady
	if (first || s.starting && permanent) && s.startErr == nil {
		s.startErr = fmt.Errorf("%s: %w", u.Name, err)
	}
	again := !first && !permanent
	s.mu.Unlock()
	if again {
		s.set(u, Restarting)
		return true
	}
	s.set(u, Failed)
	if !first {
		s.log.Error("unit failed for good", "unit", u.Name, "err", err)
	}
	return false
}

// set enters a state and wakes whoever awaits one.
func (s *Supervisor) set(u *unit, state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A word of readiness, or a failure, that crosses the order to stop does not undo it.
	if u.status.State == Stopping && state != Stopped {
		return
	}
	u.status.State = state
	u.status.Since = time.Now()
	close(s.changed)
	s.changed = make(chan struct{})
}
