package cli

import (
	"context"
	"sync"

	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
)

// follower is the tie of toska run, and of a watch, to the mesh: a toska.Mesh that finds the node as commands do, and asks the
// operator which of several it is.
type follower struct {
	*toska.Mesh
	finder *finder

	mu     sync.Mutex // guards what follows; never held over a call
	found  bool       // target was found by locate, and not used yet
	target target
	client Client // the connection that was made last; nil before
}

func newFollower(f *finder) (*follower, error) {
	w := &follower{finder: f}
	var err error
	w.Mesh, err = toska.NewMesh(toska.WithLocator(w.nodes), toska.WithConnector(w.connect))
	return w, err
}

// locate finds the node for the first time. An error means that there is none to be found now, or that
// the operator has to choose.
func (f *follower) locate(ctx context.Context) (target, error) {
	t, err := f.finder.find(ctx)
	if err != nil {
		return t, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.found, f.target = true, t
	return t, nil
}

// nodes is a toska.Locator.
func (f *follower) nodes(ctx context.Context, _ toska.Node) ([]toska.Node, error) {
	f.mu.Lock()
	t, found := f.target, f.found
	f.found = false
	f.mu.Unlock()
	if !found {
		var err error
		if t, err = f.finder.again(ctx, t); err != nil {
			return nil, &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: err.Error(), Cause: err}
		}
		f.mu.Lock()
		f.target = t
		f.mu.Unlock()
	}
	return []toska.Node{{Control: t.control, Token: t.token, Gateway: t.gateway, DataDir: t.dataDir}}, nil
}

// connect is a toska.Connector.
func (f *follower) connect(n toska.Node) toska.Connection {
	c := f.finder.env.Connect(n.Control, n.Token)
	f.mu.Lock()
	f.client = c
	f.mu.Unlock()
	return c
}

// gateway returns host:port of the gateway; empty if it is not known.
func (f *follower) gateway(ctx context.Context) string {
	f.mu.Lock()
	c, t := f.client, f.target
	f.mu.Unlock()
	if t.gateway != "" || t.control == "" {
		return t.gateway
	}
	if c == nil { // nothing has been registered yet
		c = f.finder.env.Connect(t.control, t.token)
		defer c.Close()
	}
	st, err := c.Status(ctx)
	if err != nil {
		return ""
	}
	return beside(t.control, st.Addresses["gateway"])
}

// upstreams returns what the gateway of the node sees; nil where that is not known.
func (f *follower) upstreams(ctx context.Context) upstreams {
	f.mu.Lock()
	c := f.client
	f.mu.Unlock()
	if c == nil {
		return nil
	}
	return upstreamsOf(ctx, c, "")
}
