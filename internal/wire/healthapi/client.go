package healthapi

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
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
type Client struct{ rest *httpapi.REST }

var _ mesh.Probing = (*Client)(nil)

// NewClient returns a client for the node whose control port is at control, as httpapi.Reach reads it, with
// a token unless that is empty. It connects when it is first used. The caller closes it.
func NewClient(control, token string) *Client {
	return &Client{httpapi.NewREST(control, token, callTimeout, maxAnswer)}
}

// Close closes the client's connection.
func (c *Client) Close() { c.rest.Close() }

// Probes implements mesh.Probing.
func (c *Client) Probes(ctx context.Context, service string) ([]mesh.ProbeStatus, error) {
	query := ""
	if service != "" {
		query = "?" + url.Values{"service": {service}}.Encode()
	}
	var answer restProbes
	op := "ask for the probes at " + c.rest.Control()
	if err := c.rest.Call(ctx, op, http.MethodGet, probesPath+query, &answer); err != nil {
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
	if err := c.rest.Call(ctx, op, http.MethodPost, instancesPath+url.PathEscape(id)+"/probe", &answer); err != nil {
		return mesh.ProbeStatus{}, err
	}
	st, err := fromREST(&answer)
	if err != nil {
		return mesh.ProbeStatus{}, fmt.Errorf("%s: %w", op, err)
	}
	return st, nil
}
