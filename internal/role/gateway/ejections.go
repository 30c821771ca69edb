package gateway

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/signal/series"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
)

// out is an endpoint that was put out, as it is told of.
type out struct{ service, endpoint, instance string }

// noteEjection wakes tellEjections. It is called by exchanges, and does not wait.
func (g *Gateway) noteEjection() {
	select {
	case g.ejected <- struct{}{}:
	default:
	}
}

// tellEjections logs when an endpoint goes out and when it comes back, so that no exchange has to.
func (g *Gateway) tellEjections(ctx context.Context) error {
	known := map[out]time.Time{}
	var back <-chan time.Time
	for {
		select {
		case <-g.ejected:
		case <-back:
		case <-ctx.Done():
			return nil
		}
		back = nil
		if next := g.compareEjections(known, time.Now()); !next.IsZero() {
			back = time.After(time.Until(next))
		}
	}
}

// compareEjections tells what has changed since known, which it brings up to date, and returns when the
// next endpoint comes back; zero if none is out.
func (g *Gateway) compareEjections(known map[out]time.Time, now time.Time) (next time.Time) {
	t := g.table.Load()
	if t == nil {
		return time.Time{}
	}
	is := map[out]time.Time{}
	t.Each(func(u *upstream.Upstream, e *upstream.Endpoint) {
		x := e.Ejection(now)
		if x == nil {
			return
		}
		one := outOf(u, e)
		is[one] = x.Until
		if next.IsZero() || x.Until.Before(next) {
			next = x.Until
		}
		if !known[one].Equal(x.Until) {
			g.ports.Log.Warn("endpoint ejected", "service", one.service, "endpoint", one.endpoint, "instance", one.instance,
				"reason", x.Why, "until", x.Until.UTC(), "for", x.Until.Sub(x.Since).Round(time.Millisecond))
		}
	})
	for one := range known {
		if _, still := is[one]; !still && has(t, one) {
			g.ports.Log.Info("endpoint back", "service", one.service, "endpoint", one.endpoint, "instance", one.instance)
		}
		delete(known, one)
	}
	maps.Copy(known, is)
	return next
}

func outOf(u *upstream.Upstream, e *upstream.Endpoint) out {
	one := out{service: u.Service, endpoint: e.Addr}
	if !u.FromFile() {
		one.instance = e.ID
	}
	return one
}

// has reports whether the endpoint is still there: one that has left does not come back.
func has(t *route.Table, one out) bool {
	u := t.Upstream(one.service)
	return u != nil && slices.ContainsFunc(u.All(), func(e *upstream.Endpoint) bool { return outOf(u, e) == one })
}

// UpstreamSeries calls f with what is counted of the endpoints of each service, where there is anything.
func (g *Gateway) UpstreamSeries(f func(series.Upstream)) {
	t := g.table.Load()
	if t == nil {
		return
	}
	now := time.Now()
	var eventful []*upstream.Upstream
	t.Upstreams(func(_ string, u *upstream.Upstream) {
		if u.Counts.Ejections()+u.Counts.Retries() > 0 {
			eventful = append(eventful, u)
		}
	})
	// Where there are more than may have series, the same have them at each scrape.
	slices.SortFunc(eventful, func(a, b *upstream.Upstream) int { return cmp.Compare(a.Service, b.Service) })
	for _, u := range eventful {
		f(series.Upstream{Service: u.Service, Ejected: u.Out(now), Ejections: u.Counts.Ejections(), Retries: u.Counts.Retries()})
	}
}
