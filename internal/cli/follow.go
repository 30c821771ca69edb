package cli

import (
	"context"
	"sync"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// follower is what a session keeper needs of the mesh, at a node that may come up later, restart, or
// come back on other ports: whenever the node does not answer, it is looked for anew.
type follower struct {
	finder *finder

	mu     sync.Mutex // guards what follows; never held over a call
	client Client     // nil until a node was found, and again after it did not answer
	target target
}

// locate finds the node for the first time. An error means that there is none to be found now, or that
// the operator has to choose.
func (f *follower) locate(ctx context.Context) (target, error) {
	t, err := f.finder.find(ctx)
	if err != nil {
		return t, err
	}
	f.adopt(t)
	return t, nil
}

func (f *follower) adopt(t target) Client {
	c := f.finder.env.Connect(t.control, t.token)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.client, f.target = c, t
	return c
}

// current returns the client to use, after looking for the node if need be.
func (f *follower) current(ctx context.Context) (Client, error) {
	f.mu.Lock()
	c, known := f.client, f.target
	f.mu.Unlock()
	if c != nil {
		return c, nil
	}
	t, err := f.finder.again(ctx, known)
	if err != nil {
		return nil, &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: err.Error(), Cause: err}
	}
	return f.adopt(t), nil
}

// drop forgets a client that did not serve.
func (f *follower) drop(c Client) {
	f.mu.Lock()
	if f.client == c {
		f.client = nil
	}
	f.mu.Unlock()
	c.Close()
}

// Open implements toska.Discovery.
func (f *follower) Open(ctx context.Context, r mesh.Registration, resume uint64) (mesh.Session, error) {
	c, err := f.current(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.Open(ctx, r, resume)
	if err != nil {
		f.drop(c)
	}
	return s, err
}

// Drain implements toska.Discovery.
func (f *follower) Drain(ctx context.Context, ref mesh.Ref) error {
	c, err := f.current(ctx)
	if err != nil {
		return err
	}
	return c.Drain(ctx, ref)
}

// Deregister implements toska.Discovery.
func (f *follower) Deregister(ctx context.Context, ref mesh.Ref) error {
	c, err := f.current(ctx)
	if err != nil {
		return err
	}
	return c.Deregister(ctx, ref)
}

// close lets go of the connection.
func (f *follower) close() {
	f.mu.Lock()
	c := f.client
	f.client = nil
	f.mu.Unlock()
	if c != nil {
		c.Close()
	}
}

// gateway returns host:port of the gateway; empty if it is not known.
func (f *follower) gateway(ctx context.Context) string {
	f.mu.Lock()
	c, t := f.client, f.target
	f.mu.Unlock()
	if t.gateway != "" || c == nil {
		return t.gateway
	}
	st, err := c.Status(ctx)
	if err != nil {
		return ""
	}
	return beside(t.control, st.Addresses["gateway"])
}
