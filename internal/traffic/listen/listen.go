// Package listen accepts connections, keeps track of them and ends them in order.
//
// # Concurrency
//
// A Server is safe for concurrent use. Serve starts one goroutine for each connection and waits for
// all of them before it returns.
package listen

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
)

// Server serves the connections of one listener.
type Server struct {
	// HTTP is what its connections speak.
	HTTP *http1.Server
	// Wait is how long a server that is told to stop goes on accepting, so that whoever watches its
	// readiness can turn away first; default 0.
	Wait time.Duration
	// Grace is how long the exchanges under way may take to end after that.
	Grace time.Duration
	Log   *slog.Logger

	draining atomic.Bool
	mu       sync.Mutex
	conns    map[*http1.Conn]struct{} // guarded by mu
	served   sync.WaitGroup
}

// Serve accepts until ctx ends, then drains: idle connections are closed, the others after their
// exchange, and those that are left after the grace are broken off. The listener is left open: it
// belongs to the caller. An error is one of accepting.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	s.mu.Lock()
	s.conns = map[*http1.Conn]struct{}{}
	s.mu.Unlock()
	s.draining.Store(false)
	exchanges, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	failed := make(chan error, 1)
	accepting, stopAccepting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAccepting()
	var accept sync.WaitGroup
	accept.Go(func() { failed <- s.accept(accepting, exchanges, ln) })
	var err error
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

func (s *Server) start(ctx context.Context, conn net.Conn) {
	c := http1.NewConn(s.HTTP, conn)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	s.served.Go(func() {
		c.Serve(ctx, s.draining.Load)
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	})
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

func (s *Server) open() []*http1.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*http1.Conn, 0, len(s.conns))
	for c := range s.conns {
		out = append(out, c)
	}
	return out
}
