package gateway

import (
	"context"
	"time"
)

// staleAfter is how long a start may take before the table of the last run is worth a warning.
const staleAfter = 10 * time.Second

// warnStale warns once if the table of the last run is served for longer than a start takes.
func (g *Gateway) warnStale(ctx context.Context) error {
	if !pause(ctx, staleAfter) {
		return nil
	}
	g.mu.Lock()
	stale, snap := g.source.stale, g.source.snap
	g.mu.Unlock()
	if stale {
		g.ports.Log.Warn("still serving the table of the last run: discovery does not answer", "revision", snap.Revision)
	}
	return nil
}
