// Package listen accepts connections, keeps track of them and ends them in order. What comes before the
// first request, a PROXY header and a TLS handshake, is done here, in the connection's own goroutine.
//
// # Concurrency
//
// A Server is safe for concurrent use. Serve starts one goroutine for each connection and waits for
// all of them before it returns.
package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/poll"
)

// Server serves the connections of one listener.
type Server struct {
	// HTTP is what its connections speak.
	HTTP *http1.Server
	// Loops carry the connections of a TCP listener; nil has a goroutine serve each.
	Loops *poll.Loops
	// Wait is how long a server that is told to stop goes on accepting, so that whoever watches its
	// readiness can turn away first; default 0.
	Wait time.Duration
	// Grace is how long the exchanges under way may take to end after that.
	Grace time.Duration
	Log   *slog.Logger
	// TLS is spoken on every connection; nil for plain ones.
	TLS *tls.Config
	// Proxied connections begin with a PROXY header, and come from peers that HTTP.Trusted trusts: any
	// other is closed.
	Proxied bool
	// Greeting bounds header and handshake together; default 10 s.
	Greeting time.Duration
	// Counts takes those that failed; nil makes one.
	Counts *Counts

	draining atomic.Bool
	mu       sync.Mutex
	conns    map[connection]struct{} // guarded by mu
	served   sync.WaitGroup
}

// connection is one that is tracked.
type connection interface {
	// Drain lets an exchange under way end, and nothing begin after it.
	Drain()
	// Abort breaks the connection.
	Abort()
}

// Serve accepts until ctx ends, then drains: idle connections are closed, the others after their
// exchange, and those that are left after the grace are broken off. The listener is left open: it
// belongs to the caller. An error is one of accepting.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if s.Counts == nil {
		s.Counts = new(Counts)
	}
	s.mu.Lock()
	s.conns = map[connection]struct{}{}
	s.mu.Unlock()
	s.draining.Store(false)
	ln, unshare, err := s.looped(ln)
	if err != nil {
		return err
	}
	defer unshare()
	exchanges, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	failed := make(chan error, 1)
	accepting, stopAccepting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAccepting()
	var accept sync.WaitGroup
	accept.Go(func() { failed <- s.accept(accepting, exchanges, ln) })
	select {
	case err = <-failed:
	case <-ctx.Done():
		s.pause(s.Wait)
	}
	s.draining.Store(true)
	stopAccepting()
	wake(ln)
	accept.Wait()
	s.drain(abort)
	return err
}

// Connections returns how many connections are open.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *Server) pause(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}

// wake makes a blocked Accept return without closing the listener.
func wake(ln net.Listener) {
	if d, ok := ln.(interface{ SetDeadline(time.Time) error }); ok {
		_ = d.SetDeadline(time.Unix(1, 0))
	}
}

func (s *Server) accept(ctx, exchanges context.Context, ln net.Listener) error {
	if d, ok := ln.(interface{ SetDeadline(time.Time) error }); ok {
		_ = d.SetDeadline(time.Time{}) // a listener that was woken serves again
	}
	backoff := time.Duration(0)
	for ctx.Err() == nil {
		conn, err := ln.Accept()
		if err == nil {
			backoff = 0
			s.start(exchanges, conn)
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		// Out of descriptors, most likely: those that are open go on, and some will close.
		backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
		s.Log.Warn("accept failed", "listener", ln.Addr().String(), "error", err, "retry_in", backoff)
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
		}
	}
	return nil
}

// looped returns a listener whose connections are of the loops, where there are loops; otherwise ln. The
// function gives up what that holds.
func (s *Server) looped(ln net.Listener) (net.Listener, func(), error) {
	tcp, ok := ln.(*net.TCPListener)
	if !ok || s.Loops == nil || s.TLS != nil || s.Proxied {
		return ln, func() {}, nil
	}
	shared, err := s.Loops.Listen(tcp)
	if err != nil {
		return nil, nil, err
	}
	return shared, func() { _ = shared.Close() }, nil
}

func (s *Server) start(ctx context.Context, conn net.Conn) {
	if s.TLS != nil || s.Proxied {
		g := &greeting{conn: conn}
		s.track(g, func() { s.greet(ctx, g) })
		return
	}
	c := http1.NewConn(s.HTTP, conn)
	if _, ok := conn.(*poll.Conn); ok {
		c.Attend(ctx, s.draining.Load, s.enter(c))
		return
	}
	s.track(c, func() { c.Serve(ctx, s.draining.Load) })
}

// track runs serve in a goroutine, and knows the connection until it returns.
func (s *Server) track(c connection, serve func()) {
	over := s.enter(c)
	go func() {
		defer over()
		serve()
	}()
}

// enter knows the connection until what it returns is called.
func (s *Server) enter(c connection) (over func()) {
	s.served.Add(1)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		s.served.Done()
	}
}

// drain waits for the exchanges under way, and breaks off what outlasts the grace.
func (s *Server) drain(abort context.CancelFunc) {
	for _, c := range s.open() {
		c.Drain()
	}
	done := make(chan struct{})
	var waiter sync.WaitGroup
	waiter.Go(func() { s.served.Wait(); close(done) })
	select {
	case <-done:
	case <-time.After(s.Grace):
		left := s.open()
		s.Log.Warn("exchanges outlast the grace", "connections", len(left), "grace", s.Grace)
		abort()
		for _, c := range left {
			c.Abort()
		}
		<-done
	}
	waiter.Wait()
}

func (s *Server) open() []connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]connection, 0, len(s.conns))
	for c := range s.conns {
		out = append(out, c)
	}
	return out
}
