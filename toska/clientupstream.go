package toska

import (
	"context"
	"sync"

	"github.com/toska-mesh/toska-mesh/internal/traffic/policy"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
)

// Upstream is a service as a Client sees it, for protocols that the Client does not speak itself: it chooses
// instances and is told what came of it. It is safe for concurrent use.
type Upstream struct {
	client *Client
	f      *followed
	close  func()
}

// Endpoint is an instance that may be called.
type Endpoint struct {
	// Instance is its id.
	Instance string
	// Addr is host:port.
	Addr string
	// Secure says that the endpoint is to be spoken to over TLS alone, and has to prove that it is the host
	// of Addr.
	Secure bool
}

// Outcome is what an attempt says of its endpoint.
type Outcome uint8

const (
	// Neutral attempts say nothing: the caller left or was at fault.
	Neutral Outcome = iota
	// Served attempts brought an answer that the endpoint meant.
	Served
	// Failed attempts found it away, mute, malformed, or saying that it cannot serve.
	Failed
	// Missed attempts had no answer when the caller's time was over, of which the endpoint had less than a
	// second. They count as failed from the third in a row on, without an answer in between, if another
	// endpoint has answered meanwhile.
	Missed
)

// Upstream begins to follow a service, if the client does not already, and goes on until the handle is
// closed. The error is that of a name that is none, of a closed client, or of one that follows 256 services
// none of which can be let go.
func (c *Client) Upstream(service string) (*Upstream, error) {
	f, err := c.services.pin(service)
	if err != nil {
		return nil, err
	}
	return &Upstream{client: c, f: f, close: sync.OnceFunc(func() { c.services.unpin(f) })}, nil
}

// Close lets go of the service; the client follows it on for a while.
func (u *Upstream) Close() { u.close() }

// Endpoints returns every endpoint that may be picked, and a channel that is closed when there may be others.
// It is false before discovery was heard.
func (u *Upstream) Endpoints() (list []Endpoint, changed <-chan struct{}, known bool) {
	u.f.mu.Lock()
	changed = u.f.changed
	u.f.mu.Unlock()
	up := u.f.upstream.Load()
	if up == nil {
		return nil, changed, false
	}
	for _, e := range up.Live() {
		list = append(list, Endpoint{e.ID, e.Addr, isSecure(e)})
	}
	return list, changed, true
}

// Call begins a request to the service. It waits, up to 5 s, where nothing is known of the service yet; the
// error is that of Client.RoundTrip for a service without instances.
func (u *Upstream) Call(ctx context.Context) (*Call, error) {
	up, err := u.f.wait(ctx)
	if err != nil {
		return nil, err
	}
	if up.Instances == 0 {
		return nil, noService(u.f.name)
	}
	up.Budget.Request(u.client.rule.Budget)
	return &Call{up: up, rule: u.client.rule}, nil
}

// Call is one request, of one attempt after the other. It is used by one goroutine at a time.
type Call struct {
	up    *upstream.Upstream
	rule  policy.Rule
	tries policy.Tries
}

// Next picks an endpoint that this call has not tried, for an attempt that the caller ends. The error,
// mesh.ErrUnavailable, says why there is none.
func (c *Call) Next() (*Attempt, error) {
	e := c.up.Acquire(&c.tries.Tried)
	if e == nil {
		return nil, noEndpoint("call "+c.up.Service, c.up)
	}
	return &Attempt{Endpoint: Endpoint{e.ID, e.Addr, isSecure(e)}, up: c.up, e: e}, nil
}

// Retry reports whether a request that was sent, and that may be acted upon twice, may be sent to the next
// endpoint, and pays for it from the service's budget. What was not sent needs no leave.
func (c *Call) Retry() bool {
	return c.tries.Allows(c.up, c.rule, true) && c.tries.Retry(c.up, c.rule)
}

// Attempt is one try at one endpoint.
type Attempt struct {
	Endpoint
	up  *upstream.Upstream
	e   *upstream.Endpoint
	end sync.Once
}

// End gives the endpoint back and takes the outcome into account. Only the first call counts.
func (a *Attempt) End(o Outcome) {
	a.end.Do(func() {
		switch o {
		case Served:
			a.up.Release(a.e, upstream.Served)
		case Failed:
			a.up.Release(a.e, upstream.Failed)
		case Missed:
			a.up.Release(a.e, upstream.Missed)
		case Neutral:
			a.up.Release(a.e, upstream.Neutral)
		default:
			a.up.Release(a.e, upstream.Neutral)
		}
	})
}
