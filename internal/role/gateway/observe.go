package gateway

import (
	"context"
	"strconv"

	"github.com/toska-mesh/toska-mesh/internal/signal/accesslog"
	"github.com/toska-mesh/toska-mesh/internal/signal/series"
	"github.com/toska-mesh/toska-mesh/internal/signal/span"
	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/proxy"
)

// Signals are where exchanges leave word; each may be nil.
type Signals struct {
	// AccessLog takes a line for each exchange.
	AccessLog *accesslog.Log
	// Series counts them.
	Series *series.Exchanges
	// Spans takes those of the traces that Sampler chooses.
	Spans   span.Recorder
	Sampler span.Sampler
}

// Observer follows exchanges for the signals. It allocates nothing unless a trace is sampled.
type Observer struct {
	to Signals
	// prefixRoute is the route of exchanges that none was configured for.
	prefixRoute string
}

// NewObserver returns an observer of a gateway that finds services under a prefix.
func NewObserver(to Signals, prefix string) *Observer {
	return &Observer{to: to, prefixRoute: prefix + "{service}"}
}

// Before returns the handler that decides whether an exchange's trace is sampled, and then goes on to
// next: those behind are told with the request. Without a recorder it is next itself, and the caller's
// decision passes.
func (o *Observer) Before(next exchange.Handler) exchange.Handler {
	if o.to.Spans == nil {
		return next
	}
	return sampling{o, next}
}

type sampling struct {
	o    *Observer
	next exchange.Handler
}

// ServeExchange implements exchange.Handler.
func (s sampling) ServeExchange(ctx context.Context, x *exchange.Exchange) {
	r := &x.Request
	r.Trace.Sample(s.o.to.Sampler.Sample(r.Trace.ID(), r.Traced, r.Trace.Sampled()))
	s.next.ServeExchange(ctx, x)
}

// Routed is called once the service that was asked is known, before the first attempt, and at most
// once for an exchange.
func (o *Observer) Routed(x *exchange.Exchange) {
	if o.to.Series != nil {
		x.Record.Signal = o.to.Series.Begin(x.Record.Service, o.route(&x.Record))
	}
}

// Observe implements exchange.Observer.
func (o *Observer) Observe(x *exchange.Exchange) {
	if o.to.Series != nil {
		o.count(x)
	}
	if o.to.AccessLog != nil && o.to.AccessLog.On() && !x.Record.Unlogged {
		o.write(x)
	}
	if o.to.Spans != nil && x.Request.Trace.Sampled() {
		o.to.Spans.Record(o.span(x))
	}
}

func (o *Observer) route(rec *exchange.Record) string {
	if rec.Route == "" && rec.Service != "" {
		return o.prefixRoute
	}
	return rec.Route
}

func (o *Observer) count(x *exchange.Exchange) {
	r, rec := &x.Request, &x.Record
	out := series.Outcome{
		Method: r.Method, Status: statusOf(rec), Secure: r.Scheme == "https", Version: series.HTTP11,
		Duration: rec.Done.Sub(r.Received), Endpoint: rec.Endpoint,
	}
	if r.Minor == 0 {
		out.Version = series.HTTP10
	}
	if rec.Upgraded && !rec.FirstByte.IsZero() {
		// A tunnel may last for days: that would say nothing about how fast anything is.
		out.Duration = rec.FirstByte.Sub(r.Received)
	}
	if failed(rec) {
		out.Failure = rec.Code
	}
	if tally, ok := rec.Signal.(*series.Tally); ok {
		rec.Signal = nil
		tally.End(&out)
		return
	}
	if rec.Service == "" {
		o.to.Series.Own(&out)
		return
	}
	// Nobody said that it was routed: it is counted all the same.
	o.to.Series.Begin(rec.Service, o.route(rec)).End(&out)
}

// statusOf gives those that were never answered a status of their own.
func statusOf(rec *exchange.Record) int {
	switch {
	case rec.Status != 0:
		return rec.Status
	case rec.ClientGone:
		return statusClientGone
	case rec.Code == exchange.CodeShutdown:
		return 503 // a part of ours was away
	}
	return 500
}

// statusClientGone is what proxies count for a client that left before it was answered.
const statusClientGone = 499

// failed tells what the gateway could not do from what the client did.
func failed(rec *exchange.Record) bool {
	return rec.Code != "" && rec.Code != proxy.CodeWebSocket && !rec.ClientGone && (rec.Status < 400 || rec.Status >= 500)
}

func (o *Observer) write(x *exchange.Exchange) {
	r, rec := &x.Request, &x.Record
	line := accesslog.Line{
		Lane: lane(x), Time: r.Received, Duration: rec.Done.Sub(r.Received), Client: r.Peer(),
		Method: r.Method, Path: pathOf(r), Query: r.Query, Host: r.Host, Proto: proto(r.Minor),
		Status: rec.Status, BytesIn: rec.BytesIn, BytesOut: rec.BytesOut,
		RequestID: r.ID, CorrelationID: r.Fields.Get("X-Correlation-ID"), TraceID: r.Trace.ID(),
		Service: rec.Service, Route: rec.Route, Endpoint: rec.Endpoint,
		Attempts: rec.Attempts, UserAgent: r.Fields.Get("User-Agent"),
		Code: rec.Code, Reason: rec.Reason, Upgraded: rec.Upgraded,
		Phase: string(rec.Phase), Phases: accesslog.Phases(rec.Phases), Headers: &r.Fields,
	}
	if !rec.FirstByte.IsZero() {
		line.Upstream = rec.FirstByte.Sub(r.Received)
	}
	for _, a := range rec.Tried {
		line.Tried = append(line.Tried, accesslog.Attempt(a))
	}
	o.to.AccessLog.Write(&line)
}

// lane has the lines of one event loop in one lane. Those that goroutines serve are spread by their client.
func lane(x *exchange.Exchange) int {
	if x.Carrier != nil {
		return x.Carrier.Home()
	}
	return int(x.Request.Client.Port())
}

// span tells of a sampled exchange. What it keeps is copied: the request's memory is used again.
func (o *Observer) span(x *exchange.Exchange) span.Span {
	r, rec := &x.Request, &x.Record
	s := span.Span{
		Trace: r.Trace.ID(), ID: r.Trace.Span(), Parent: r.Trace.Caller(), Kind: span.Server,
		Start: r.Received, End: rec.Done, Status: span.Unset,
		Method: string(r.Method), Path: string(pathOf(r)), Scheme: r.Scheme, Version: "1." + strconv.Itoa(r.Minor),
		Route: o.route(rec), Service: rec.Service, Endpoint: rec.Endpoint, StatusCode: rec.Status,
		Code: rec.Code, Reason: rec.Reason, Attempts: rec.Attempts, RequestID: string(r.ID),
		BytesIn: rec.BytesIn, BytesOut: rec.BytesOut,
	}
	if peer := r.Peer(); peer.IsValid() {
		s.Client = peer.String()
	}
	s.Name = spanMethod(s.Method)
	if s.Route != "" {
		s.Name += " " + s.Route
	}
	// A client's fault is no error of whoever serves it.
	if rec.Status >= 500 || failed(rec) {
		s.Status = span.Error
	}
	return s
}

// spanMethod keeps what a client made up out of the names of spans.
func spanMethod(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return method
	}
	return "HTTP"
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

// Sweep drops the series of what has gone. has is asked whether a service has an endpoint, and with
// the endpoint "" whether there is the service. It is called from time to time.
func (o *Observer) Sweep(has func(service, endpoint string) bool) {
	if o.to.Series != nil {
		o.to.Series.Keep(has)
	}
}

var _ exchange.Observer = (*Observer)(nil)
