package gatewayapi

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	// callTimeout bounds a call whose caller gave no deadline.
	callTimeout = 10 * time.Second
	// maxAnswer bounds what a node may send: all routes at most.
	maxAnswer = 64 << 20
)

// Client is the mesh.Routing contract of a node reached over its control port. Errors have the kind, code
// and fields that the node gave; a node that does not answer is mesh.ErrUnavailable.
type Client struct{ rest *httpapi.REST }

var _ mesh.Routing = (*Client)(nil)

// NewClient returns a client for the node whose control port is at control, as httpapi.Reach reads it, with
// a token unless that is empty. It connects when it is first used. The caller closes it.
func NewClient(control, token string) *Client {
	return &Client{httpapi.NewREST(control, token, callTimeout, maxAnswer)}
}

// Close closes the client's connection.
func (c *Client) Close() { c.rest.Close() }

// Routes implements mesh.Routing.
func (c *Client) Routes(ctx context.Context) ([]mesh.RouteStatus, error) {
	var answer restRoutes
	if err := c.rest.Call(ctx, "ask for the routes at "+c.rest.Control(), http.MethodGet, routesPath, &answer); err != nil {
		return nil, err
	}
	return fromREST(answer), nil
}

// Upstreams implements mesh.Routing.
func (c *Client) Upstreams(ctx context.Context, service string) ([]mesh.UpstreamStatus, error) {
	path := upstreamsPath
	if service != "" {
		path += "?service=" + url.QueryEscape(service)
	}
	var answer restUpstreams
	if err := c.rest.Call(ctx, "ask for the upstreams at "+c.rest.Control(), http.MethodGet, path, &answer); err != nil {
		return nil, err
	}
	return upstreamsFromREST(answer), nil
}
