package discoveryapi

import (
	"context"
	"iter"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	discoveryv1 "github.com/toska-mesh/toska-mesh/api/discovery/v1"
	"github.com/toska-mesh/toska-mesh/api/discovery/v1/discoveryv1connect"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	// callTimeout bounds a call whose caller gave no deadline.
	callTimeout = 10 * time.Second
	// maxMessage bounds what a node may send as one message: a whole registry at most.
	maxMessage = 256 << 20
)

// Client is the mesh.Discovery contract of a node reached over its control port. Errors have the kind,
// code and fields that the node gave; a node that does not answer is mesh.ErrUnavailable, and an address that
// answers and does not serve this API mesh.ErrInvalid.
type Client struct {
	control string
	http    *http.Client
	rpc     discoveryv1connect.DiscoveryClient
	// base ends with Close, and with it every session and watch.
	base  context.Context
	end   context.CancelFunc
	tasks tasks
}

var _ mesh.Discovery = (*Client)(nil)

// NewClient returns a client for the node whose control port is at control, as httpapi.Reach reads it, with
// a token unless that is empty. It connects when it is first used. The caller closes it.
func NewClient(control, token string) *Client {
	hc, base := httpapi.Reach(control, token)
	return newClient(httpapi.HostPort(control), base, hc)
}

func newClient(control, url string, hc *http.Client) *Client {
	base, end := context.WithCancel(context.Background())
	return &Client{
		control: control, http: hc, base: base, end: end,
		rpc: discoveryv1connect.NewDiscoveryClient(hc, url,
			connect.WithReadMaxBytes(maxMessage),
			// The connection is local or fast: compressing costs more than it saves.
			connect.WithAcceptCompression("gzip", nil, nil)),
	}
}

// Close ends the sessions and watches of the client, as if their connection broke, and waits for them.
func (c *Client) Close() {
	c.end()
	c.tasks.close()
	c.http.CloseIdleConnections()
}

// call runs one unary call under a deadline and translates its error.
func call[Req, Res any](ctx context.Context, c *Client, op string, rpc func(context.Context, *Req) (*Res, error), req *Req) (*Res, error) {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	res, err := rpc(ctx, req)
	if err != nil {
		return nil, c.explain(op, err)
	}
	return res, nil
}

func (c *Client) explain(op string, err error) error {
	if connect.CodeOf(err) == connect.CodeUnimplemented && connect.IsWireError(err) {
		return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid, Cause: err, Detail: op + " at " + c.control +
			": what answers there has no such procedure: it is not the control address of a node; " +
			"set TOSKA_CONTROL to that, HOST:PORT, by default with port 5010"}
	}
	return httpapi.FromRPC(op+" at "+c.control, err)
}

// Register implements mesh.Discovery. A Held registration is refused: only Open holds one.
func (c *Client) Register(ctx context.Context, r mesh.Registration) (mesh.Instance, error) {
	if r.Lifetime == mesh.Held {
		return mesh.Instance{}, wrongField("lifetime", "a held registration is opened as a session")
	}
	res, err := call(ctx, c, "register "+r.Service, c.rpc.Register,
		&discoveryv1.RegisterRequest{Registration: toProtoRegistration(r)})
	if err != nil {
		return mesh.Instance{}, err
	}
	return fromProtoInstance(res.GetInstance())
}

// Renew implements mesh.Discovery.
func (c *Client) Renew(ctx context.Context, ref mesh.Ref) error {
	_, err := call(ctx, c, "renew "+ref.ID, c.rpc.Renew, &discoveryv1.RenewRequest{Ref: toProtoRef(ref)})
	return err
}

// Report implements mesh.Discovery.
func (c *Client) Report(ctx context.Context, ref mesh.Ref, rep mesh.Report) error {
	_, err := call(ctx, c, "report "+ref.ID, c.rpc.Report,
		&discoveryv1.ReportRequest{Ref: toProtoRef(ref), Verdict: toProtoVerdict(rep)})
	return err
}

// Drain implements mesh.Discovery.
func (c *Client) Drain(ctx context.Context, ref mesh.Ref) error {
	_, err := call(ctx, c, "drain "+ref.ID, c.rpc.Drain, &discoveryv1.DrainRequest{Ref: toProtoRef(ref)})
	return err
}

// Deregister implements mesh.Discovery.
func (c *Client) Deregister(ctx context.Context, ref mesh.Ref) error {
	_, err := call(ctx, c, "deregister "+ref.ID, c.rpc.Deregister, &discoveryv1.DeregisterRequest{Ref: toProtoRef(ref)})
	return err
}

// Instance implements mesh.Discovery.
func (c *Client) Instance(ctx context.Context, id string) (mesh.Instance, error) {
	res, err := call(ctx, c, "get "+id, c.rpc.Get, &discoveryv1.GetRequest{Id: id})
	if err != nil {
		return mesh.Instance{}, err
	}
	return fromProtoInstance(res.GetInstance())
}

// Snapshot implements mesh.Discovery.
func (c *Client) Snapshot(ctx context.Context) (*mesh.Snapshot, error) {
	res, err := call(ctx, c, "list", c.rpc.List, &discoveryv1.ListRequest{})
	if err != nil {
		return nil, err
	}
	return patch(nil, &discoveryv1.WatchResponse{Revision: res.GetRevision(), Stale: res.GetStale(),
		Full: true, Services: res.GetServices()})
}

// Watch implements mesh.Discovery: the node sends what changed, and each snapshot is put together here.
// When the client is closed, or the connection breaks, the last element is mesh.ErrUnavailable.
func (c *Client) Watch(ctx context.Context, since mesh.Revision) iter.Seq2[*mesh.Snapshot, error] {
	return c.snapshots(ctx, &discoveryv1.WatchRequest{Since: since.String()})
}

// WatchService is Watch for the instances of one service (any spelling) alone: its snapshots hold nothing
// else, and come when that service changes. A service without instances yields an empty snapshot.
func (c *Client) WatchService(ctx context.Context, service string, since mesh.Revision) iter.Seq2[*mesh.Snapshot, error] {
	return c.snapshots(ctx, &discoveryv1.WatchRequest{Since: since.String(), Service: service})
}

func (c *Client) snapshots(ctx context.Context, req *discoveryv1.WatchRequest) iter.Seq2[*mesh.Snapshot, error] {
	return func(yield func(*mesh.Snapshot, error) bool) {
		if !c.tasks.begin() {
			yield(nil, c.closed())
			return
		}
		defer c.tasks.done()
		inner, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(c.base, cancel)()
		err := c.watch(inner, req, func(s *mesh.Snapshot) bool { return yield(s, nil) })
		switch {
		case err == nil || ctx.Err() != nil:
		case c.base.Err() != nil:
			yield(nil, c.closed())
		default:
			yield(nil, c.explain("watch", err))
		}
	}
}

// watch is nil once yield wants no more.
func (c *Client) watch(ctx context.Context, req *discoveryv1.WatchRequest, yield func(*mesh.Snapshot) bool) error {
	stream, err := c.rpc.Watch(ctx, req)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	var last *mesh.Snapshot
	for stream.Receive() {
		if last, err = patch(last, stream.Msg()); err != nil {
			return err
		}
		if !yield(last) {
			return nil
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	return connect.NewError(connect.CodeUnavailable, errStreamEnded)
}

func (c *Client) closed() error {
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable,
		Detail: "the client of " + c.control + " is closed"}
}

// tasks counts what runs on behalf of a client, and refuses more once that is closing.
type tasks struct {
	mu      sync.Mutex // guards closing, and with it that no task begins while close waits
	closing bool
	running sync.WaitGroup
}

func (t *tasks) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing {
		return false
	}
	t.running.Add(1)
	return true
}

func (t *tasks) done() { t.running.Done() }

func (t *tasks) close() {
	t.mu.Lock()
	t.closing = true
	t.mu.Unlock()
	t.running.Wait()
}
