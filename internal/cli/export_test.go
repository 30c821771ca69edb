package cli

import (
	"io"
	"os"
	"time"
)

// BuildFrom is for the tests of what a binary says of itself.
var BuildFrom = buildFrom

// Build is what BuildFrom returns.
type Build = build

// NewRequestLines is for the tests of how the access log reads on a terminal.
func NewRequestLines(w io.Writer, colours bool) io.Writer {
	return &requestLines{w: w, colours: colours}
}

// What a signal to stop means, for the tests of it.
const (
	StopInOrder = stopInOrder
	StopAlready = stopAlready
	StopAtOnce  = stopAtOnce
)

// Stopping is what signals came so far.
type Stopping struct{ stopping }

// Take says what a signal means.
func (s *Stopping) Take(sig os.Signal, now time.Time) int { return s.take(sig, now) }
