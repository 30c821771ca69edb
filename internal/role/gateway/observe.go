package gateway

import (
	"github.com/toska-mesh/toska-mesh/internal/signal/accesslog"
	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// observer tells the access log of exchanges; nil when there is none.
func (g *Gateway) observer() exchange.Observer {
	if g.ports.AccessLog == nil {
		return nil
	}
	return logObserver{g.ports.AccessLog}
}

type logObserver struct{ log *accesslog.Log }

// Observe implements exchange.Observer.
func (o logObserver) Observe(x *exchange.Exchange) {
	r, rec := &x.Request, &x.Record
	line := accesslog.Line{
		Time: r.Received, Duration: rec.Done.Sub(r.Received), Client: r.Peer(),
		Method: r.Method, Path: pathOf(r), Host: r.Host, Proto: proto(r.Minor),
		Status: rec.Status, BytesIn: rec.BytesIn, BytesOut: rec.BytesOut,
		RequestID: r.ID, TraceID: r.Trace.ID(), Service: rec.Service, Endpoint: rec.Endpoint,
		Attempts: rec.Attempts, UserAgent: r.Fields.Get("User-Agent"),
		Code: rec.Code, Reason: rec.Reason, Upgraded: rec.Upgraded,
	}
	if !rec.FirstByte.IsZero() {
		line.Upstream = rec.FirstByte.Sub(r.Received)
	}
	o.log.Write(&line)
}

// pathOf is the canonical path, or of a request that has none what it asked for, without the query.
func pathOf(r *exchange.Request) []byte {
	if len(r.Path) > 0 {
		return r.Path
	}
	for i, c := range r.Target {
		if c == '?' {
			return r.Target[:i]
		}
	}
	return r.Target
}

func proto(minor int) string {
	if minor == 0 {
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}
