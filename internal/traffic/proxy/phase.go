package proxy

import (
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
)

// lap ends the phase under way and returns how long it was.
func (a *attempt) lap(now time.Time) time.Duration {
	d := now.Sub(a.mark)
	a.mark = now
	return d
}

// noteTaken ends the phases before a link was at hand. What lies between two attempts is nobody's phase.
func (a *attempt) noteTaken(link *http1.Link) {
	at, dialled := link.Taken()
	p := &a.x.Record.Phases
	if before := a.lap(at) - dialled; a.x.Record.Attempts == 1 && p.Match == 0 {
		p.Match = before
	}
	p.Dial += dialled
	p.Reused = link.Used()
}
