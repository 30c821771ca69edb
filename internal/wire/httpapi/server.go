package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// ErrStopping is the cause of a context that UntilStop ended.
var ErrStopping = errors.New("the server is stopping")

const (
	// readHeaderTimeout is how long a client may take to say what it wants.
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	maxStreams        = 10_000
	// pingAfter and pingTimeout find a dead client of a quiet stream within a lease.
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second
	// linger is how long the last bytes of finished answers may take to leave.
	linger = 100 * time.Millisecond
)

// Server serves HTTP/1.1 and HTTP/2 on one listener, in the clear or over the TLS of the listener's.
type Server struct {
	handler http.Handler
	log     *slog.Logger
}

// NewServer returns a server for h. It starts nothing.
func NewServer(h http.Handler, log *slog.Logger) *Server {
	return &Server{handler: h, log: log}
}

// Serve accepts on ln until ctx ends, and closes it. Then it takes nothing new, ends the streams
// (UntilStop), lets the other requests finish within the grace, and cuts what is left. It returns once
// everything that it started has ended: nil after ctx ended, otherwise why accepting failed.
func (s *Server) Serve(ctx context.Context, ln net.Listener, grace time.Duration) error {
	stop, stopStreams := context.WithCancelCause(context.Background())
	base, cancel := context.WithCancel(context.WithValue(context.Background(), stopKey{}, stop))
	defer cancel()
	defer stopStreams(ErrStopping)

	var running inflight
	srv := s.server(base, &running)
	failed := make(chan error, 1)
	var accepting sync.WaitGroup
	accepting.Go(func() { failed <- srv.Serve(ln) })
	defer accepting.Wait()

	select {
	case err := <-failed:
		stopStreams(ErrStopping)
		cancel()
		_ = srv.Close()
		running.close()
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	stopStreams(ErrStopping)
	s.shutdown(srv, &running, grace, cancel)
	return nil
}

// shutdown returns when every connection is closed. Once all handlers have returned, and their last
// bytes had time to leave, it cuts what is left: net/http would wait for a client that keeps an idle
// HTTP/2 connection, up to the whole grace.
func (s *Server) shutdown(srv *http.Server, running *inflight, grace time.Duration, cancelRequests func()) {
	limit, end := context.WithTimeout(context.Background(), grace)
	defer end()
	ctx, cut := context.WithCancel(limit)
	defer cut()
	var quiet sync.WaitGroup
	quiet.Go(func() {
		defer cut()
		running.close()
		t := time.NewTimer(linger)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	})
	if err := srv.Shutdown(ctx); err != nil {
		if limit.Err() != nil {
			s.log.Warn("requests cut at shutdown", "grace", grace)
		}
		// Nothing is left to be told: the listener is closed already.
		_ = srv.Close()
	}
	cancelRequests()
	quiet.Wait()
}

// inflight counts the handlers that run, and admits no more once it is closed.
type inflight struct {
	mu      sync.Mutex // guards closed, and with it that no handler begins while close waits
	closed  bool
	running sync.WaitGroup
}

func (f *inflight) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.running.Add(1)
	return true
}

func (f *inflight) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.running.Wait()
}

func (s *Server) server(base context.Context, running *inflight) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true) // where the listener speaks TLS and offers it
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !running.begin() {
				WriteProblem(w, r, &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable,
					Detail: "the node is stopping"})
				return
			}
			defer running.running.Done()
			s.handler.ServeHTTP(w, r)
		}),
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         &protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			SendPingTimeout:      pingAfter,
			PingTimeout:          pingTimeout,
			WriteByteTimeout:     pingAfter + pingTimeout,
		},
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

type stopKey struct{}

// UntilStop returns a context for a handler that may run for as long as its client likes: it ends with
// the request, and with the cause ErrStopping when the server stops. The caller must call the cancel
// function.
func UntilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancelCause(ctx)
	stop, ok := ctx.Value(stopKey{}).(context.Context)
	if !ok {
		return out, func() { cancel(context.Canceled) }
	}
	unhook := context.AfterFunc(stop, func() { cancel(ErrStopping) })
	return out, func() { unhook(); cancel(context.Canceled) }
}
