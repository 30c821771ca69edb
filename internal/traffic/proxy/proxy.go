// Package proxy forwards an exchange to an endpoint and brings its answer back.
//
// # Concurrency
//
// A Proxy is safe for concurrent use. An exchange is forwarded in the goroutine that serves it; only a
// body that has not arrived whole, and a tunnel, take a second one, and both are waited for.
package proxy

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/balance"
	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
)

// Codes of what a gateway can say of a request that it did not forward, or whose forwarding failed.
const (
	CodeNoRoute     = "TOSKA-ROUTE-NONE"
	CodeNotReady    = "TOSKA-ROUTE-NOT-READY"
	CodeNoEndpoint  = "TOSKA-UP-NONE"
	CodeRefused     = "TOSKA-UP-CONN-REFUSED"
	CodeConnTimeout = "TOSKA-UP-CONN-TIMEOUT"
	CodeConnFailed  = "TOSKA-UP-CONN-FAILED"
	CodeDNS         = "TOSKA-UP-DNS"
	CodeTimeout     = "TOSKA-UP-TIMEOUT"
	CodeReset       = "TOSKA-UP-RESET"
	CodeMalformed   = "TOSKA-UP-MALFORMED"
	CodeCut         = "TOSKA-UP-CUT"
	CodeClientGone  = "TOSKA-CLIENT-GONE"
)

// Config is what a proxy needs.
type Config struct {
	// Table returns the current table; nil before the first one.
	Table func() *route.Table
	// Internal answers the gateway's own paths.
	Internal exchange.Handler
	// Links bounds the connections to endpoints.
	Links *http1.LinkConfig
	// PerTry bounds the wait for the head of an answer; default 10 s.
	PerTry time.Duration
	// Attempts bounds how many endpoints are tried; default 3, at most balance.MaxTried.
	Attempts int
}

// Proxy is an exchange.Handler that forwards.
type Proxy struct {
	cfg      Config
	attempts sync.Pool // of *attempt
}

// New returns a proxy. Zero durations and counts of cfg take their defaults.
func New(cfg Config) *Proxy {
	if cfg.PerTry == 0 {
		cfg.PerTry = 10 * time.Second
	}
	if cfg.Attempts == 0 {
		cfg.Attempts = 3
	}
	cfg.Attempts = min(cfg.Attempts, balance.MaxTried)
	return &Proxy{cfg: cfg}
}

// Open makes the connections of a new endpoint.
func (p *Proxy) Open(addr string) upstream.Connections { return http1.NewPool(addr, p.cfg.Links) }

// ServeExchange implements exchange.Handler.
func (p *Proxy) ServeExchange(ctx context.Context, x *exchange.Exchange) {
	table := p.cfg.Table()
	if table == nil {
		exchange.Problem(x, 503, CodeNotReady, "the gateway has no table yet")
		return
	}
	m, outcome := table.Match(&x.Request)
	switch outcome {
	case route.Internal:
		p.cfg.Internal.ServeExchange(ctx, x)
	case route.None:
		exchange.Problem(x, 404, CodeNoRoute, "no route takes this path")
	case route.NoService:
		exchange.Problem(x, 404, CodeNoRoute, "no service of this name is registered")
	case route.EncodedSlash:
		exchange.Problem(x, 400, exchange.CodeBadPath, "no route takes an encoded slash here")
	case route.Found:
		x.Record.Service = m.Upstream.Service
		p.forward(ctx, x, &m)
	}
}

// failure is why an attempt did not bring an answer.
type failure struct {
	status int
	code   string
	detail string
	// cause is the detail that only the log is told; empty where detail says it all.
	cause string
	// again says that another endpoint may be tried: the request cannot have been acted on, or acting
	// on it twice is the same as once and a kept connection had died.
	again bool
}

// forward tries endpoints until one answers.
func (p *Proxy) forward(ctx context.Context, x *exchange.Exchange, m *route.Match) {
	a, _ := p.attempts.Get().(*attempt)
	if a == nil {
		a = new(attempt)
	}
	*a = attempt{p: p, x: x, m: *m}
	if !a.try(ctx) {
		exchange.Problem(x, a.failure.status, a.failure.code, a.failure.detail)
		if a.failure.cause != "" {
			x.Record.Reason = a.failure.cause
		}
	}
	*a = attempt{}
	p.attempts.Put(a)
}

// attempt is what is tried for one exchange: one endpoint after the other.
type attempt struct {
	p        *Proxy
	x        *exchange.Exchange
	m        route.Match
	tried    balance.Tried
	endpoint *upstream.Endpoint
	failure  failure
}

// try reports whether the exchange is over, answered or not; otherwise a.failure says why it is not.
func (a *attempt) try(ctx context.Context) (over bool) {
	for a.tried.Len() < a.p.cfg.Attempts {
		if a.tried.Len() > 0 && !a.x.Answer.Alive() {
			return a.clientFault(exchange.ErrClientGone)
		}
		a.endpoint = a.m.Upstream.Acquire(&a.tried)
		if a.endpoint == nil {
			break
		}
		a.x.Record.Attempts++
		a.x.Record.Endpoint = a.endpoint.Addr
		over = a.run(ctx)
		a.endpoint.Release()
		if over || !a.failure.again {
			return over
		}
	}
	if a.tried.Len() == 0 {
		a.failure = failure{status: 503, code: CodeNoEndpoint, detail: "no instance of the service can be picked: " + a.m.Upstream.Why}
	}
	return false
}

// idempotent reports whether a request may be sent twice (RFC 9110 section 9.2.2).
func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE":
		return true
	}
	return false
}

// run makes one attempt at a.endpoint.
func (a *attempt) run(ctx context.Context) (over bool) {
	pool := a.endpoint.Connections.(*http1.Pool)
	link, err := pool.Get(ctx)
	if err != nil {
		return a.failDial(ctx, err)
	}
	over, stale := a.exchange(ctx, link)
	if !stale {
		return over
	}
	// The endpoint closed a kept connection just as we used it: that says nothing about the endpoint.
	if link, err = pool.Dial(ctx); err != nil {
		return a.failDial(ctx, err)
	}
	over, _ = a.exchange(ctx, link)
	return over
}

// exchange sends the request and brings the answer. stale says that a kept connection had died under
// a request that may be sent again.
func (a *attempt) exchange(ctx context.Context, link *http1.Link) (over, stale bool) {
	up, err := a.send(link)
	var head *exchange.Head
	if err == nil {
		head, err = link.Receive(a.x.Request.Method, a.p.cfg.PerTry, a.x.Answer)
		for up != nil && isTimeout(err) {
			wait := up.wait(a.p.cfg.PerTry)
			if wait <= 0 {
				break
			}
			head, err = link.Receive(a.x.Request.Method, wait, a.x.Answer)
		}
	}
	if err != nil {
		unused := link.Used() && link.Silent()
		link.Close()
		if up != nil {
			up.stop()
			if up.fault != nil {
				return a.clientFault(up.fault), false
			}
		}
		if errors.Is(err, exchange.ErrClientGone) {
			return a.clientFault(err), false
		}
		if ctx.Err() != nil {
			a.x.Record.Code = exchange.CodeShutdown
			return true, false
		}
		if unused && up == nil && idempotent(a.x.Request.Method) && !isTimeout(err) {
			return false, true
		}
		return a.failReceive(err), false
	}
	a.x.Record.FirstByte = time.Now()
	if head.Status == 101 {
		return a.upgrade(link, head), false
	}
	a.relay(ctx, link, head, up)
	return true, false
}

// relay brings the answer to the client, and lets go of the link.
func (a *attempt) relay(ctx context.Context, link *http1.Link, head *exchange.Head, up *upload) {
	err := a.copyAnswer(link, head)
	whole := true
	if up != nil {
		whole = up.settle()
	}
	switch {
	case err == nil && whole:
		link.Release()
		return
	case ctx.Err() != nil:
		a.x.Record.Code = exchange.CodeShutdown
	case errors.Is(err, exchange.ErrClientGone):
		a.clientFault(err)
	case err != nil && up != nil && up.fault != nil:
		a.clientFault(up.fault)
	case err != nil:
		// The client sees the connection break: a cut answer is never taken for a whole one.
		a.x.Record.Code, a.x.Record.Reason = CodeCut, err.Error()
	}
	link.Close()
}

func (a *attempt) copyAnswer(link *http1.Link, head *exchange.Head) error {
	if err := a.x.Answer.Start(head); err != nil {
		return err
	}
	body := link.Body()
	for {
		p, err := body.Next()
		if err != nil {
			if isEOF(err) {
				return a.x.Answer.End(body.Trailers())
			}
			return err
		}
		_, last := body.Buffered()
		if err := a.x.Answer.Write(p, last); err != nil {
			return err
		}
	}
}

// clientFault ends an exchange that the client broke off or spoiled. It says nothing about the
// endpoint.
func (a *attempt) clientFault(err error) (over bool) {
	if fault, ok := errors.AsType[*exchange.ClientError](err); ok {
		exchange.Refuse(a.x, fault)
		return true
	}
	a.x.Record.ClientGone, a.x.Record.Code = true, CodeClientGone
	return true
}
