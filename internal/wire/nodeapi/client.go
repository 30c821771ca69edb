package nodeapi

import (
	"context"
	"net/http"
	"time"

	nodev1 "github.com/toska-mesh/toska-mesh/api/node/v1"
	"github.com/toska-mesh/toska-mesh/api/node/v1/nodev1connect"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// callTimeout bounds a call whose caller gave no deadline.
const callTimeout = 10 * time.Second

// Client is the mesh.Node contract of a node reached over its control port. A node that does not answer
// is mesh.ErrUnavailable.
type Client struct {
	control string
	http    *http.Client
	rpc     nodev1connect.NodeClient
}

var _ mesh.Node = (*Client)(nil)

// NewClient returns a client for the node whose control port is at control, as httpapi.Reach reads it, with
// a token unless that is empty. It connects when it is first used. The caller closes it.
func NewClient(control, token string) *Client {
	hc, base := httpapi.Reach(control, token)
	return &Client{control: httpapi.HostPort(control), http: hc, rpc: nodev1connect.NewNodeClient(hc, base)}
}

// Close closes the client's connection.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status implements mesh.Node.
func (c *Client) Status(ctx context.Context) (mesh.Status, error) {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	p, err := c.rpc.GetStatus(ctx, &nodev1.GetStatusRequest{})
	if err != nil {
		return mesh.Status{}, httpapi.FromRPC("ask for the status at "+c.control, err)
	}
	return fromProto(p)
}
