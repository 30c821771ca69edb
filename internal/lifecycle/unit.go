package lifecycle

import (
	"context"
	"errors"
	"time"
)

// ErrPermanent marks an error of a unit that a restart in this process cannot mend: the unit is then
// failed for good and the others go on.
var ErrPermanent = errors.New("cannot be restarted in this process")

var (
	errEndedEarly = errors.New("ended before it was ready")
	errEndedAlone = errors.New("ended without being asked to")
)

// Unit is one supervised part of a process.
type Unit struct {
	// Name is unique within a Supervisor.
	Name string
	// Needs are the units that must be ready before this one starts.
	Needs []string
	// Wants are the units that this one can start without: its start waits for them to become ready,
	// but only for a bounded time. Names that the Supervisor does not know are ignored.
	Wants []string
	// Run does the unit's work until ctx ends, then gives back everything it took and returns. It
	// calls ready, which never blocks, once it does what it is there for; calls after the first change
	// nothing. Run may be called again after it has returned an error.
	Run func(ctx context.Context, ready func()) error
}

// State is where a unit is in its life.
type State string

const (
	// Starting units have not been ready yet; they may still wait for what they need.
	Starting State = "starting"
	// Ready units do what they are there for.
	Ready State = "ready"
	// Restarting units failed and will be, or are being, started again.
	Restarting State = "restarting"
	// Stopping units were told to end.
	Stopping State = "stopping"
	// Stopped units have ended as they were told.
	Stopped State = "stopped"
	// Failed units ended by themselves and are not started again.
	Failed State = "failed"
)

// UnitStatus is the state of one unit.
type UnitStatus struct {
	Name  string
	State State
	// Since is when the state was entered.
	Since time.Time
	// Restarts counts how often the unit was started again.
	Restarts int
	// Reason is why the unit last failed; empty if it never did.
	Reason string
}
