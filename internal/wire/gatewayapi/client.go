package gatewayapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
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
type Client struct {
	control string
	base    string // the URL that paths follow
	http    *http.Client
}

var _ mesh.Routing = (*Client)(nil)

// NewClient returns a client for the node whose control port is at control, as httpapi.Reach reads it, with
// a token unless that is empty. It connects when it is first used. The caller closes it.
func NewClient(control, token string) *Client {
	hc, base := httpapi.Reach(control, token)
	return &Client{control: httpapi.HostPort(control), base: base, http: hc}
}

// Close closes the client's connection.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Routes implements mesh.Routing.
func (c *Client) Routes(ctx context.Context) ([]mesh.RouteStatus, error) {
	var answer restRoutes
	if err := c.get(ctx, "ask for the routes at "+c.control, routesPath, &answer); err != nil {
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
	if err := c.get(ctx, "ask for the upstreams at "+c.control, path, &answer); err != nil {
		return nil, err
	}
	return upstreamsFromREST(answer), nil
}

// get reads the answer of a path.
func (c *Client) get(ctx context.Context, op, path string, into any) error {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return unavailable(op, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return unavailable(op, err)
	case len(body) > maxAnswer:
		return fmt.Errorf("%s: %w: the answer has more than %d bytes", op, mesh.ErrTooLarge, maxAnswer)
	case resp.StatusCode != http.StatusOK:
		return refused(op, resp.StatusCode, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s: the answer is none of ours: %w", op, err)
	}
	return nil
}

// unavailable is a node that did not answer. The end of the caller's own context stays recognisable.
func unavailable(op string, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", op, err)
	}
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: op + ": " + err.Error(), Cause: err}
}

// kinds are the inverse of what httpapi answers for each kind.
var kinds = map[int]error{
	http.StatusUnprocessableEntity:   mesh.ErrInvalid,
	http.StatusRequestEntityTooLarge: mesh.ErrTooLarge,
	http.StatusNotFound:              mesh.ErrNotFound,
	http.StatusConflict:              mesh.ErrConflict,
	http.StatusUnauthorized:          mesh.ErrUnauthenticated,
	http.StatusForbidden:             mesh.ErrForbidden,
	http.StatusServiceUnavailable:    mesh.ErrUnavailable,
}

// refused turns a problem document into the error that it was made of.
func refused(op string, status int, body []byte) error {
	var p httpapi.Problem
	if err := json.Unmarshal(body, &p); err != nil || p.Code == "" {
		return fmt.Errorf("%s: the answer is %d %s and none of ours", op, status, strings.ToLower(http.StatusText(status)))
	}
	e := &mesh.Error{Kind: kinds[status], Code: p.Code, Detail: p.Detail}
	for _, f := range p.Errors {
		e.Fields = append(e.Fields, mesh.FieldError(f))
	}
	return e
}
