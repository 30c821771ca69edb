package toskatest

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
)

// tie is an instance's own, so that it can be cut, and tells of its first session.
type tie struct {
	*toska.Mesh
	once   sync.Once
	opened chan mesh.Instance // holds one
}

// Open implements mesh.Discovery.
func (t *tie) Open(ctx context.Context, r mesh.Registration, resume uint64) (mesh.Session, error) {
	s, err := t.Mesh.Open(ctx, r, resume)
	if err == nil {
		t.once.Do(func() { t.opened <- s.Instance() })
	}
	return s, err
}

// listener knows its connections, so that they can be cut.
type listener struct {
	net.Listener
	mu    sync.Mutex // guards what follows
	conns map[net.Conn]struct{}
	dead  bool
}

func listen() (*listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return &listener{Listener: ln, conns: map[net.Conn]struct{}{}}, nil
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	l.conns[c] = struct{}{}
	return &conn{c, l}, nil
}

// kill closes the listener and resets its connections, as the end of a process does.
func (l *listener) kill() {
	l.mu.Lock()
	l.dead = true
	conns := l.conns
	l.conns = nil
	l.mu.Unlock()
	_ = l.Close()
	for c := range conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}

func (l *listener) killed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// conn leaves its listener's list when it is closed.
type conn struct {
	net.Conn
	of *listener
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c.Conn)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
