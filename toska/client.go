package toska

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/toska-mesh/toska-mesh/internal/traffic/policy"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Scheme is that of the URLs that a Client takes, as in toska://orders/list?page=2: the host is the name of
// a service.
const Scheme = "toska"

const (
	// connectTimeout bounds a connection to an instance: after it another one is tried.
	connectTimeout = 2 * time.Second
	// idlePerInstance and idleConnection bound the connections that are kept while nothing is sent.
	idlePerInstance = 64
	idleConnection  = 60 * time.Second
)

// Client calls services of the mesh by name. It is an http.RoundTripper for URLs of the Scheme: each request
// goes to an instance that the client chooses by itself, as a gateway of the mesh would, and without one in
// between.
//
//   - Instances are chosen by the service's lb_strategy and their weight, by default the one of two with
//     fewer requests in flight. Those that are failing or draining are left out; one that fails five times
//     in a row is left out for a while, and one that is new begins with a small share.
//   - A request that could not be sent goes to another instance. One that was sent is sent again only if it
//     is idempotent (GET, HEAD, OPTIONS, PUT, DELETE, or any with an Idempotency-Key field), its body can be
//     had again (Request.GetBody), and the connection failed or the answer is 502, 503 or 504: once, and for
//     a fifth of the requests at most. An instance that asks for a rest (Retry-After) gets it.
//   - What is left of the context's deadline is sent along as Toska-Timeout, in milliseconds, and so are the
//     trace, the correlation id and the hop count of the request that is being served (see Continue).
//   - Each attempt is a span of OpenTelemetry's API, recorded if the program has set up an SDK.
//
// The client watches each service that it calls, from the first call on, which waits up to 5 s for the
// instances. While discovery is away it goes on with those that it last knew. A service that is not called for
// ten minutes is let go, one without instances after ten seconds, and beyond 256 services the one that was not
// called for longest.
//
// An error is a *mesh.Error with a code: TOSKA-SERVICE-NONE (mesh.ErrNotFound) if no instance is registered,
// TOSKA-UP-… (mesh.ErrUnavailable) if none can be picked or none answered, with each that was tried and
// why; TOSKA-UNAVAILABLE if discovery was never heard. A context that is cancelled ends a call with its own
// error.
type Client struct {
	services  *services
	transport *http.Transport
	tracer    func() trace.Tracer
	rule      policy.Rule
	release   func() // lets go of a discovery of its own; may be nil
	close     func()
}

var _ http.RoundTripper = (*Client)(nil)

// NewClient returns a client. It starts nothing and connects to nothing before its first call. It finds the
// mesh as NewMesh does, unless WithDiscovery says otherwise. The caller closes it. The error names each option
// and each variable of the environment that is wrong.
func NewClient(opts ...Option) (*Client, error) {
	o, err := newOptions(opts)
	if err != nil {
		return nil, err
	}
	if o.client.discovery != nil {
		return newClient(o.client.discovery, &o), nil
	}
	m := o.mesh()
	c := newClient(m, &o)
	c.release = func() { _ = m.Close() }
	return c, nil
}

func newClient(d mesh.Discovery, o *options) *Client {
	c := &Client{services: newServices(d, o.log), rule: policy.DefaultRule(), tracer: tracerOf(o.client.tracers)}
	dialer := &net.Dialer{Timeout: connectTimeout}
	c.transport = &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, &undialled{err}
			}
			return conn, nil
		},
		DisableCompression:    true,
		MaxIdleConnsPerHost:   idlePerInstance,
		IdleConnTimeout:       idleConnection,
		ResponseHeaderTimeout: o.client.attempt,
		ExpectContinueTimeout: time.Second,
	}
	c.close = sync.OnceFunc(func() {
		c.services.close()
		c.transport.CloseIdleConnections()
		if c.release != nil {
			c.release()
		}
	})
	return c
}

// undialled is the failure of a connection that was not made: nothing was sent.
type undialled struct{ error }

// Unwrap returns what the network said.
func (u *undialled) Unwrap() error { return u.error }

// HTTP returns an http.Client over the client, for http.NewRequest and Get with URLs of the Scheme. It has
// no timeout of its own: give each request a context with a deadline.
func (c *Client) HTTP() *http.Client { return &http.Client{Transport: c} }

// CloseIdleConnections closes the connections to instances over which nothing is being sent.
func (c *Client) CloseIdleConnections() { c.transport.CloseIdleConnections() }

// Close ends the client's watches, waits for them, and closes idle connections. Calls that are under way go
// on; new ones to services that were not called before fail. It returns nil.
func (c *Client) Close() error {
	c.close()
	return nil
}

// RoundTrip implements http.RoundTripper. The request is not modified. Its URL has the Scheme, the name of a
// service and no port; a Host other than that name is sent as it is, else the instance's address.
func (c *Client) RoundTrip(req *http.Request) (*http.Response, error) {
	a := &call{client: c, req: req, body: newSource(req)}
	res, err := a.run()
	if err != nil {
		a.body.close()
		return nil, err
	}
	return res, nil
}

// run finds the service and tries its instances.
func (a *call) run() (*http.Response, error) {
	if err := checkURL(a.req); err != nil {
		return nil, err
	}
	err := errDropped
	for errors.Is(err, errDropped) {
		var f *followed
		if f, err = a.client.services.follow(a.req.URL.Host); err == nil {
			a.up, err = f.wait(a.req.Context())
		}
	}
	if err != nil {
		return nil, err
	}
	if a.up.Instances == 0 {
		return nil, noService(a.req.URL.Host)
	}
	return a.try()
}

func checkURL(req *http.Request) error {
	problem := ""
	switch u := req.URL; {
	case u == nil:
		return errors.New("toska: the request has no URL")
	case u.Scheme != Scheme:
		problem = "its scheme is " + u.Scheme + ", and this client takes " + Scheme + "://SERVICE/… only; another http.Client calls what is outside of the mesh"
	case u.Host == "":
		problem = "it names no service; write " + Scheme + "://SERVICE/…"
	case u.Port() != "":
		problem = "it has a port, and the mesh knows the ports; leave it away"
	default:
		return nil
	}
	return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid, Detail: "call " + req.URL.Redacted() + ": " + problem}
}
