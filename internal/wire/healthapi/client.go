package healthapi

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
	// callTimeout bounds a call whose caller gave no deadline: a probe may take a minute.
	callTimeout = 70 * time.Second
	// maxAnswer bounds what a node may send: all probes at most.
	maxAnswer = 256 << 20
)

// Client is the mesh.Probing contract of a node reached over its control port. Errors have the kind, code
// and fields that the node gave; a node that does not answer is mesh.ErrUnavailable, one that makes no
// probes mesh.ErrNotFound.
type Client struct {
	control string
	http    *http.Client
}

var _ mesh.Probing = (*Client)(nil)

// NewClient returns a client for the node whose control port is at control (host:port), with a token
// unless that is empty. It connects when it is first used. The caller closes it.
func NewClient(control, token string) *Client {
	return &Client{control: control, http: httpapi.NewClient(token)}
}

// Close closes the client's connection.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Probes implements mesh.Probing.
func (c *Client) Probes(ctx context.Context, service string) ([]mesh.ProbeStatus, error) {
	query := ""
	if service != "" {
		query = "?" + url.Values{"service": {service}}.Encode()
	}
	var answer restProbes
	op := "ask for the probes at " + c.control
	if err := c.call(ctx, op, http.MethodGet, probesPath+query, &answer); err != nil {
		return nil, err
	}
	out := make([]mesh.ProbeStatus, 0, len(answer.Probes))
	for i := range answer.Probes {
		st, err := fromREST(&answer.Probes[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		out = append(out, st)
	}
	return out, nil
}

// ProbeNow implements mesh.Probing.
func (c *Client) ProbeNow(ctx context.Context, id string) (mesh.ProbeStatus, error) {
	var answer restProbe
	op := "probe " + id
	if err := c.call(ctx, op, http.MethodPost, instancesPath+url.PathEscape(id)+"/probe", &answer); err != nil {
		return mesh.ProbeStatus{}, err
	}
	st, err := fromREST(&answer)
	if err != nil {
		return mesh.ProbeStatus{}, fmt.Errorf("%s: %w", op, err)
	}
	return st, nil
}

func (c *Client) call(ctx context.Context, op, method, path string, answer any) error {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.control+path, nil)
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
	if err := json.Unmarshal(body, answer); err != nil {
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
