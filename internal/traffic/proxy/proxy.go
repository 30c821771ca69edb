// Package proxy forwards an exchange to an endpoint and brings its answer back.
//
// # Concurrency
//
// A Proxy is safe for concurrent use. An exchange is forwarded in the goroutine that serves it; only a
// body that has not arrived whole, and a tunnel, take a second one, and both are waited for.
package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/policy"
	"github.com/toska-mesh/toska-mesh/internal/traffic/proxyproto"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
)

// Codes of what a gateway can say of a request that it did not forward, or whose forwarding failed.
const (
	CodeNoRoute     = "TOSKA-ROUTE-NONE"
	CodeNotReady    = "TOSKA-ROUTE-NOT-READY"
	CodeMethod      = "TOSKA-ROUTE-METHOD"
	CodeQuarantined = "TOSKA-ROUTE-QUARANTINED"
	CodeNoEndpoint  = policy.CodeNoEndpoint
	CodeRefused     = policy.CodeRefused
	CodeConnTimeout = policy.CodeConnTimeout
	CodeConnFailed  = policy.CodeConnFailed
	CodeDNS         = policy.CodeDNS
	CodeTimeout     = policy.CodeTimeout
	CodeReset       = policy.CodeReset
	CodeMalformed   = policy.CodeMalformed
	CodeUnwell      = policy.CodeUnwell
	CodeCut         = "TOSKA-UP-CUT"
	CodeClientGone  = "TOSKA-CLIENT-GONE"
	CodeLoop        = "TOSKA-REQ-LOOP"
	CodeWebSocket   = "TOSKA-REQ-WEBSOCKET"
	CodeNoUpgrade   = "TOSKA-ROUTE-UPGRADE"

	CodeTLSExpired   = "TOSKA-UP-TLS-EXPIRED"
	CodeTLSName      = "TOSKA-UP-TLS-NAME"
	CodeTLSUnknownCA = "TOSKA-UP-TLS-UNKNOWN-CA"
	CodeTLSHandshake = "TOSKA-UP-TLS-HANDSHAKE"
	CodeTLSTimeout   = "TOSKA-UP-TLS-TIMEOUT"
	CodeTLSMaterial  = "TOSKA-UP-TLS-MATERIAL"
)

// Config is what a proxy needs.
type Config struct {
	// Table returns the current table; nil before the first one.
	Table func() *route.Table
	// Internal answers the gateway's own paths.
	Internal exchange.Handler
	// Links bounds the connections to endpoints.
	Links *http1.LinkConfig
	// TLS returns what has the configuration of TLS for new connections to endpoints of its kind. Nil has
	// none: such endpoints cannot be connected to.
	TLS func(upstream.TLS) func() (*tls.Config, error)
	// Routed is told of an exchange once its service and route are known, before anything is sent; may
	// be nil.
	Routed func(*exchange.Exchange)
}

// Proxy is an exchange.Handler that forwards.
type Proxy struct {
	cfg      Config
	tunnels  tunnels
	attempts sync.Pool // of *attempt
}

// New returns a proxy.
func New(cfg Config) *Proxy {
	return &Proxy{cfg: cfg}
}

// Open makes the connections of a new endpoint.
func (p *Proxy) Open(to upstream.Target) upstream.Connections {
	switch {
	case !to.Secure:
		return http1.NewPool(to.Addr, p.cfg.Links)
	case p.cfg.TLS == nil:
		return http1.NewSecurePool(to.Addr, p.cfg.Links, func() (*tls.Config, error) { return nil, errNoTLS })
	}
	return http1.NewSecurePool(to.Addr, p.cfg.Links, p.cfg.TLS(to.TLS))
}

var errNoTLS = errors.New("there is no configuration of TLS")

// ServeExchange implements exchange.Handler.
func (p *Proxy) ServeExchange(ctx context.Context, x *exchange.Exchange) {
	x.Record.Phase = exchange.PhaseMatch
	table := p.cfg.Table()
	if table == nil {
		if route.IsInternal(&x.Request) {
			// A gateway that waits for its table is alive, and says by itself that it is not ready.
			p.cfg.Internal.ServeExchange(ctx, x)
			return
		}
		exchange.Problem(x, 503, CodeNotReady, "the gateway has no table yet")
		return
	}
	m, outcome := table.Match(&x.Request)
	switch outcome {
	case route.Internal:
		x.Carrier.Leave()
		p.cfg.Internal.ServeExchange(ctx, x)
	case route.None:
		exchange.Problem(x, 404, CodeNoRoute, "no route takes this path")
	case route.NoService:
		exchange.Problem(x, 404, CodeNoRoute, "no service of this name is registered")
	case route.EncodedSlash:
		exchange.Problem(x, 400, exchange.CodeBadPath, "no route takes an encoded slash here")
	case route.OtherMethod:
		allow := table.Allowed(&x.Request)
		exchange.MethodProblem(x, CodeMethod, "the routes of this path take "+strings.Join(allow, ", "), allow)
	case route.Refused:
		x.Record.Service, x.Record.Route = m.Upstream.Service, m.Route.Name
		exchange.Problem(x, 503, CodeQuarantined, "the entry of the service "+m.Upstream.Service+" in the configuration is quarantined")
	case route.Found:
		if x.Request.Hops >= maxHops {
			exchange.Problem(x, 508, CodeLoop, "the request has come round through this mesh again and again")
			return
		}
		x.Record.Service, x.Record.Route, x.Record.Unlogged = m.Upstream.Service, m.Route.Name, m.Route.Unlogged
		x.Bounds = m.Route.Policy.Bounds()
		if p.cfg.Routed != nil {
			p.cfg.Routed(x)
		}
		if x.Request.WebSocket && refuseUpgrade(x, &m) {
			return
		}
		if !x.Bounds.Admits(x.Request.Length) {
			exchange.Refuse(x, exchange.ErrBodyTooLarge)
			return
		}
		p.forward(ctx, x, &m)
	}
}

// maxHops is how many gateways of this mesh a request may pass: more is a loop.
const maxHops = 8

// failure is why an attempt did not bring an answer.
type failure struct {
	status int
	code   string
	detail string
	// cause is the detail that only the log is told; empty where detail says it all.
	cause string
	// unsent says that nothing was sent: another endpoint may be tried, and no budget is spent, since
	// nobody's load grew by it.
	unsent bool
	// retry says that a retry was granted, and paid for.
	retry bool
}

// reason is what the log is told.
func (f *failure) reason() string { return cmp.Or(f.cause, f.detail) }

// forward tries endpoints until one answers.
func (p *Proxy) forward(ctx context.Context, x *exchange.Exchange, m *route.Match) {
	a, _ := p.attempts.Get().(*attempt)
	if a == nil {
		a = new(attempt)
	}
	*a = attempt{p: p, x: x, m: *m, mark: x.Request.Received}
	if !a.try(ctx) {
		exchange.Problem(x, a.failure.status, a.failure.code, a.failure.detail)
		if a.failure.cause != "" {
			x.Record.Reason = a.failure.cause
		}
	}
	if x.Record.Attempts > 1 {
		a.noteLast()
	}
	*a = attempt{}
	p.attempts.Put(a)
}

// attempt is what is tried for one exchange: one endpoint after the other.
type attempt struct {
	p        *Proxy
	x        *exchange.Exchange
	m        route.Match
	tried    policy.Tries
	endpoint *upstream.Endpoint
	asked    string // the address of the attempt before
	failure  failure
	outcome  upstream.Outcome
	mark     time.Time // when the phase under way began
	// link and up are what is in use now; nil when it was given back.
	link *http1.Link
	up   *upload
}

// try reports whether the exchange is over, answered or not; otherwise a.failure says why it is not.
func (a *attempt) try(ctx context.Context) (over bool) {
	a.m.Upstream.Budget.Request(a.m.Route.Policy.Budget)
	for a.tried.More() {
		if a.tried.Len() > 0 && !a.x.Answer.Alive() {
			return a.clientFault(exchange.ErrClientGone)
		}
		a.endpoint = a.m.Upstream.Acquire(&a.tried.Tried)
		if a.endpoint == nil {
			break
		}
		if a.x.Record.Attempts > 0 {
			a.m.Upstream.Counts.Retried()
			a.note(a.failure.code, a.failure.reason())
		}
		a.x.Record.Attempts++
		a.x.Record.Endpoint = a.endpoint.Addr
		a.failure, a.outcome = failure{}, upstream.Neutral
		over = a.once(ctx)
		a.asked = a.endpoint.Addr
		if over || !a.failure.unsent && !a.failure.retry {
			return over
		}
	}
	if a.tried.Len() == 0 {
		a.x.Record.Phase = exchange.PhasePick
		a.failure = failure{status: 503, code: CodeNoEndpoint,
			detail: "no instance of the service " + a.m.Upstream.Service + " can be picked: " + a.m.Upstream.Why}
	}
	return false
}

// note tells of the attempt before, which was not the only one.
func (a *attempt) note(code, reason string) {
	a.x.Record.Tried = append(a.x.Record.Tried, exchange.Attempt{Endpoint: a.asked, Code: code, Reason: reason})
}

// noteLast tells of the attempt that was the last of several.
func (a *attempt) noteLast() {
	code, reason := a.x.Record.Code, a.x.Record.Reason
	if code == "" && a.outcome == upstream.Failed {
		code, reason = CodeUnwell, unwell
	}
	a.note(code, reason)
}

// unwell is the detail of CodeUnwell.
const unwell = "the endpoint answers that it cannot serve"

// once makes one attempt at a.endpoint and gives back what it took, even after a panic.
func (a *attempt) once(ctx context.Context) (over bool) {
	defer a.leave()
	return a.run(ctx)
}

func (a *attempt) leave() {
	if a.up != nil {
		a.up.stop()
		a.up = nil
	}
	a.drop()
	if a.outcome == upstream.Failed {
		a.endpoint.Blame(cmp.Or(a.failure.code, a.x.Record.Code, CodeUnwell))
	}
	a.m.Upstream.Release(a.endpoint, a.outcome)
}

// drop breaks the link in use.
func (a *attempt) drop() {
	if a.link != nil {
		a.link.Close()
		a.link = nil
	}
}

// keep gives the link in use back to its pool.
func (a *attempt) keep() {
	a.link.Release()
	a.link = nil
}

// run makes one attempt at a.endpoint.
func (a *attempt) run(ctx context.Context) (over bool) {
	pool := a.endpoint.Connections.(*http1.Pool)
	connect := a.m.Route.Policy.Connect
	a.x.Record.Phase = exchange.PhaseConnect
	var link *http1.Link
	var err error
	if version := a.endpoint.Proxy(); version == 0 {
		link, err = pool.Get(ctx, connect, a.x.Carrier)
	} else {
		link, err = pool.DialWith(ctx, connect, a.header(version), a.x.Carrier)
	}
	if err != nil {
		return a.failDial(ctx, err)
	}
	a.noteTaken(link)
	over, stale := a.exchange(ctx, link)
	if !stale {
		return over
	}
	// The endpoint closed a kept connection just as we used it: that says nothing about the endpoint.
	a.x.Record.Phase = exchange.PhaseConnect
	if link, err = pool.Dial(ctx, connect, a.x.Carrier); err != nil {
		return a.failDial(ctx, err)
	}
	a.noteTaken(link)
	over, _ = a.exchange(ctx, link)
	return over
}

// header tells the endpoint for whom we connect.
func (a *attempt) header(version int) []byte {
	r := &a.x.Request
	return proxyproto.Append(nil, proxyproto.Header{Version: version, Source: r.Client, Destination: r.Local})
}

// exchange sends the request and brings the answer. stale says that a kept connection had died under
// a request that may be sent again.
func (a *attempt) exchange(ctx context.Context, link *http1.Link) (over, stale bool) {
	a.link = link
	a.x.Record.Phase = exchange.PhaseSend
	up, err := a.send(link)
	a.up = up
	var head *exchange.Head
	if err == nil {
		a.x.Record.Phase = exchange.PhaseWait
		perTry := a.perTry()
		head, err = link.Receive(a.x.Request.Method, perTry, a.x.Answer)
		for up != nil && isTimeout(err) {
			wait := up.wait(perTry)
			if wait <= 0 {
				break
			}
			head, err = link.Receive(a.x.Request.Method, wait, a.x.Answer)
		}
	}
	if err != nil {
		a.x.Record.Phases.Wait += a.lap(time.Now())
		unused := link.Used() && link.Silent()
		a.drop()
		if up != nil {
			a.up = nil
			up.stop()
			up.rethrow()
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
		if unused && up == nil && policy.Idempotent(string(a.x.Request.Method)) && !isTimeout(err) {
			return false, true
		}
		return a.failReceive(err, up == nil), false
	}
	a.x.Record.FirstByte = time.Now()
	a.x.Record.Phases.Wait += a.lap(a.x.Record.FirstByte)
	a.x.Record.Phase = exchange.PhaseBody
	if head.Status == 101 {
		return a.upgrade(link, head), false
	}
	a.outcome = upstream.Served
	if policy.Unwell(head.Status) {
		a.outcome = upstream.Failed
		if a.giveUp(link, head, up) {
			return false, false
		}
	}
	a.relay(ctx, link, head, up)
	return true, false
}

// relay brings the answer to the client, and lets go of the link.
func (a *attempt) relay(ctx context.Context, link *http1.Link, head *exchange.Head, up *upload) {
	err := a.copyAnswer(link, head)
	whole := true
	if up != nil {
		a.up = nil
		whole = up.settle()
		up.rethrow()
	}
	switch {
	case err == nil && whole:
		a.keep()
		return
	case ctx.Err() != nil:
		a.x.Record.Code = exchange.CodeShutdown
	case errors.Is(err, exchange.ErrClientGone):
		a.clientFault(err)
	case err != nil && up != nil && up.fault != nil:
		a.clientFault(up.fault)
	case err != nil:
		// The client sees the connection break: a cut answer is never taken for a whole one.
		a.outcome = upstream.Failed
		a.x.Record.Code, a.x.Record.Reason = CodeCut, err.Error()
	}
	a.drop()
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
	a.x.Record.ClientGone, a.x.Record.Code, a.x.Record.Reason = true, CodeClientGone, err.Error()
	return true
}
