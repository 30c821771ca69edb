package toska

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"

	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Connection is a client of one node.
type Connection interface {
	mesh.Discovery
	// Close ends the sessions and watches of the connection.
	Close()
}

// Connector returns a connection to a node. It does not wait for the node.
type Connector func(Node) Connection

// Mesh is the tie of a program to a mesh: the mesh.Discovery of whichever node answers. When one does not, the
// next is taken; when all are away, calls fail with mesh.ErrUnavailable, and each new call looks for them
// again, also where a node came back on other ports. It holds no state of its own: who keeps an instance
// registered is a Keeper, and who watches begins again when a watch ends.
//
// Calls whose repetition does no harm are tried at each node once before they fail.
type Mesh struct {
	locate  Locator
	connect Connector
	log     *slog.Logger

	mu      sync.Mutex // guards what follows; never held over a call
	current *connection
	known   Node // that of current, or of the last one
	turn    int  // which of the located nodes is next
	width   int  // how many there were
	open    map[*connection]struct{}
	closed  bool
}

var _ mesh.Discovery = (*Mesh)(nil)

// connection is one that several calls, sessions and watches share. It is closed with the last of them once
// it is retired.
type connection struct {
	Connection
	node    Node
	uses    int
	retired bool
}

// NewMesh returns a Mesh. It starts nothing and connects to nothing before its first call. The caller closes
// it. The error names each option and each variable of the environment that is wrong.
func NewMesh(opts ...Option) (*Mesh, error) {
	o, err := newOptions(opts)
	if err != nil {
		return nil, err
	}
	return o.mesh(), nil
}

func (o *options) mesh() *Mesh {
	m := &Mesh{locate: o.locate, connect: o.connect, log: o.log, open: map[*connection]struct{}{}}
	if m.locate == nil {
		l := &locator{controls: o.controls, token: o.token, tokenFile: o.tokenFile, family: o.controlsBy == familyAddress}
		m.locate = l.locate
	}
	if m.connect == nil {
		m.connect = func(n Node) Connection { return discoveryapi.NewClient(n.Control, n.Token) }
	}
	return m
}

// Node returns the node that calls go to; false if there is none at the moment.
func (m *Mesh) Node() (Node, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known, m.current != nil
}

// Close ends every session and watch as if its connection broke, and waits for them. Calls after it fail with
// mesh.ErrUnavailable. It returns nil.
func (m *Mesh) Close() error {
	m.mu.Lock()
	m.closed = true
	m.current = nil
	open := m.open
	m.open = map[*connection]struct{}{}
	m.mu.Unlock()
	for c := range open {
		c.Close()
	}
	return nil
}

// acquire returns the connection to use, after looking for the nodes if need be. It is given back to settle.
func (m *Mesh) acquire(ctx context.Context) (*connection, error) {
	if c, known, err := m.use(); c != nil || err != nil {
		return c, err
	} else if nodes, err := m.nodes(ctx, known); err != nil {
		return nil, err
	} else {
		return m.take(nodes)
	}
}

// use returns the current connection, or nil and the node that it was to.
func (m *Mesh) use() (*connection, Node, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, Node{}, unavailable("the tie to the mesh is closed", nil)
	}
	if m.current != nil {
		m.current.uses++
	}
	return m.current, m.known, nil
}

func (m *Mesh) nodes(ctx context.Context, known Node) ([]Node, error) {
	nodes, err := m.locate(ctx, known)
	if err == nil && len(nodes) == 0 {
		err = errNoNodes
	}
	var told *mesh.Error
	if err != nil && !errors.As(err, &told) && ctx.Err() == nil {
		err = unavailable(err.Error(), err)
	}
	return nodes, err
}

// take makes a connection to the next node current, unless another goroutine was faster.
func (m *Mesh) take(nodes []Node) (*connection, error) {
	m.mu.Lock()
	m.width = len(nodes)
	n := nodes[m.turn%len(nodes)]
	m.mu.Unlock()
	mine := &connection{Connection: m.connect(n), node: n, uses: 1}
	m.mu.Lock()
	if m.current == nil && !m.closed {
		m.current, m.known = mine, n
		m.open[mine] = struct{}{}
		m.mu.Unlock()
		return mine, nil
	}
	m.mu.Unlock()
	mine.Close()
	c, _, err := m.use()
	if c == nil && err == nil {
		err = unavailable("the node does not answer", nil)
	}
	return c, err
}

// settle gives a connection back. One whose node does not serve is left by new calls; what still uses it goes
// on.
func (m *Mesh) settle(c *connection, gone bool) {
	m.mu.Lock()
	c.uses--
	if gone && m.current == c {
		m.current = nil
		m.turn++
	}
	c.retired = c.retired || gone
	_, open := m.open[c]
	last := open && c.retired && c.uses == 0
	if last {
		delete(m.open, c)
	}
	m.mu.Unlock()
	if last {
		c.Close()
	}
}

// gone reports whether an error says that another node, or another token, may serve.
func gone(err error) bool {
	return errors.Is(err, mesh.ErrUnavailable) || errors.Is(err, mesh.ErrUnauthenticated) || errors.Is(err, context.DeadlineExceeded)
}

// onNode runs one call, at each node once while none answers.
func onNode[T any](ctx context.Context, m *Mesh, again bool, do func(mesh.Discovery) (T, error)) (T, error) {
	for tried := 1; ; tried++ {
		c, err := m.acquire(ctx)
		if err != nil {
			var zero T
			return zero, err
		}
		v, err := do(c)
		m.settle(c, gone(err))
		if !again || !gone(err) || ctx.Err() != nil || tried >= m.tries() {
			return v, err
		}
	}
}

// tries is how often a call is made: once for each node, and twice if there is one, which may have come back
// elsewhere.
func (m *Mesh) tries() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(2, m.width)
}

// do is onNode for what returns an error alone.
func (m *Mesh) do(ctx context.Context, f func(mesh.Discovery) error) error {
	_, err := onNode(ctx, m, true, func(d mesh.Discovery) (struct{}, error) { return struct{}{}, f(d) })
	return err
}

// Register implements mesh.Discovery. A registration without an id is tried once: it may have been made
// although no answer came.
func (m *Mesh) Register(ctx context.Context, r mesh.Registration) (mesh.Instance, error) {
	return onNode(ctx, m, r.ID != "", func(d mesh.Discovery) (mesh.Instance, error) { return d.Register(ctx, r) })
}

// Renew implements mesh.Discovery.
func (m *Mesh) Renew(ctx context.Context, ref mesh.Ref) error {
	return m.do(ctx, func(d mesh.Discovery) error { return d.Renew(ctx, ref) })
}

// Report implements mesh.Discovery.
func (m *Mesh) Report(ctx context.Context, ref mesh.Ref, rep mesh.Report) error {
	return m.do(ctx, func(d mesh.Discovery) error { return d.Report(ctx, ref, rep) })
}

// Drain implements mesh.Discovery.
func (m *Mesh) Drain(ctx context.Context, ref mesh.Ref) error {
	return m.do(ctx, func(d mesh.Discovery) error { return d.Drain(ctx, ref) })
}

// Deregister implements mesh.Discovery.
func (m *Mesh) Deregister(ctx context.Context, ref mesh.Ref) error {
	return m.do(ctx, func(d mesh.Discovery) error { return d.Deregister(ctx, ref) })
}

// Instance implements mesh.Discovery.
func (m *Mesh) Instance(ctx context.Context, id string) (mesh.Instance, error) {
	return onNode(ctx, m, true, func(d mesh.Discovery) (mesh.Instance, error) { return d.Instance(ctx, id) })
}

// Snapshot implements mesh.Discovery.
func (m *Mesh) Snapshot(ctx context.Context) (*mesh.Snapshot, error) {
	return onNode(ctx, m, true, func(d mesh.Discovery) (*mesh.Snapshot, error) { return d.Snapshot(ctx) })
}

// Open implements mesh.Discovery. It is tried at one node: who keeps a session tries again, with back-off.
func (m *Mesh) Open(ctx context.Context, r mesh.Registration, resume uint64) (mesh.Session, error) {
	c, err := m.acquire(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.Open(ctx, r, resume)
	if err != nil {
		// A caller that did not want to wait any longer says that the node is mute.
		m.settle(c, gone(err) || ctx.Err() != nil)
		return nil, err
	}
	return &session{Session: s, settle: sync.OnceFunc(func() { m.settle(c, false) })}, nil
}

// session holds its connection until it is closed.
type session struct {
	mesh.Session
	settle func()
}

// Close implements mesh.Session.
func (s *session) Close(lost bool) {
	s.Session.Close(lost)
	s.settle()
}

// Watch implements mesh.Discovery. When it ends with mesh.ErrUnavailable, the next watch goes to another node.
func (m *Mesh) Watch(ctx context.Context, since mesh.Revision) iter.Seq2[*mesh.Snapshot, error] {
	return m.watch(ctx, func(d mesh.Discovery) iter.Seq2[*mesh.Snapshot, error] { return d.Watch(ctx, since) })
}

// WatchService is Watch for the instances of one service (any spelling) alone: its snapshots hold nothing
// else.
func (m *Mesh) WatchService(ctx context.Context, service string, since mesh.Revision) iter.Seq2[*mesh.Snapshot, error] {
	return m.watch(ctx, func(d mesh.Discovery) iter.Seq2[*mesh.Snapshot, error] {
		if c, ok := d.(*connection); ok {
			d = c.Connection
		}
		if w, ok := d.(serviceWatcher); ok {
			return w.WatchService(ctx, service, since)
		}
		return alone(d.Watch(ctx, since), mesh.ServiceKey(service))
	})
}

func (m *Mesh) watch(ctx context.Context, begin func(mesh.Discovery) iter.Seq2[*mesh.Snapshot, error]) iter.Seq2[*mesh.Snapshot, error] {
	return func(yield func(*mesh.Snapshot, error) bool) {
		c, err := m.acquire(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		var last error
		defer func() { m.settle(c, gone(last)) }()
		for s, err := range begin(c) {
			last = err
			if !yield(s, err) {
				return
			}
		}
	}
}

// alone leaves out what is of other services.
func alone(all iter.Seq2[*mesh.Snapshot, error], key string) iter.Seq2[*mesh.Snapshot, error] {
	return func(yield func(*mesh.Snapshot, error) bool) {
		for s, err := range all {
			if err == nil {
				one := &mesh.Snapshot{Revision: s.Revision, Stale: s.Stale, Services: map[string][]*mesh.Instance{}}
				if list := s.Services[key]; len(list) > 0 {
					one.Services[key] = list
				}
				s = one
			}
			if !yield(s, err) {
				return
			}
		}
	}
}
