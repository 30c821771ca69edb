package app

import (
	"github.com/toska-mesh/toska-mesh/internal/backend/otel"
	"github.com/toska-mesh/toska-mesh/internal/role/gateway"
	"github.com/toska-mesh/toska-mesh/internal/signal/series"
)

// The series of what the signals themselves cost.
const (
	seriesLinesDropped = "toska_access_log_dropped_total"
	seriesSpansSent    = "toska_spans_sent_total"
	seriesSpansDropped = "toska_spans_dropped_total"
	seriesHandshakes   = "toska_tls_handshakes_failed_total"
	seriesHeaders      = "toska_proxy_headers_refused_total"
)

// SeriesHelp returns what each series of the node's own counts, for those that may be there.
func SeriesHelp() map[string]string {
	return map[string]string{
		seriesLinesDropped: "Lines of the access log that a slow writer cost.",
		seriesSpansSent:    "Spans that the receiver took.",
		seriesSpansDropped: "Spans that were lost on the way to the receiver.",
		seriesHandshakes:   "Connections to the gateway whose TLS handshake failed.",
		seriesHeaders:      "Connections to the gateway whose PROXY header was missing, malformed, late, or of a peer that is not trusted.",
	}
}

// newSignals makes what the node is observed with. They outlive the roles that feed them.
func (a *App) newSignals() error {
	help := SeriesHelp()
	a.series = series.New(series.Config{Version: a.cfg.Version})
	a.series.Counter(seriesLinesDropped, help[seriesLinesDropped], func() float64 { return float64(a.access.Dropped()) })
	plan, err := otel.Resolve(a.cfg.Spans, a.cfg.Getenv)
	if err != nil || !plan.Enabled {
		return err
	}
	a.sampler = plan.Sampler
	a.spans = otel.New(plan, otel.Node{Service: "toska-gateway", ID: a.dir.NodeID(), Version: a.cfg.Version}, a.log("spans"))
	a.series.Counter(seriesSpansSent, help[seriesSpansSent], func() float64 { return float64(a.spans.Sent()) })
	a.series.Counter(seriesSpansDropped, help[seriesSpansDropped], func() float64 { return float64(a.spans.Dropped()) })
	return nil
}

// refusedSeries counts the connections to the gateway that came to nothing before their first request.
func (a *App) refusedSeries(role *gateway.Gateway) {
	help := SeriesHelp()
	a.series.Counter(seriesHandshakes, help[seriesHandshakes], func() float64 { n, _ := role.Refused(); return float64(n) })
	a.series.Counter(seriesHeaders, help[seriesHeaders], func() float64 { _, n := role.Refused(); return float64(n) })
}

// registrySeries is the registry's state as it is scraped.
func (a *App) registrySeries() series.Registry {
	s := a.discovery.Stats()
	return series.Registry{
		Services: s.Services, Instances: s.Instances, Sessions: s.Sessions, Commits: s.Revision.Number, Stale: s.Stale,
	}
}
