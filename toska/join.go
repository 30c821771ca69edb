package toska

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// readHeadTimeout and idleTimeout bound what a connection may keep Join waiting for.
const (
	readHeadTimeout = 10 * time.Second
	idleTimeout     = 2 * time.Minute
)

// Join serves h as an instance of a service of the mesh, until ctx ends:
//
//	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
//	defer stop()
//	http.HandleFunc("/", hello)
//	if err := toska.Join(ctx, "hello", nil); err != nil {
//		log.Fatal(err)
//	}
//
// It listens first and registers then, with the port that it really has. It stays registered for as long as
// it runs: whatever ends the tie to the mesh, it is made again, with back-off, for ever, and each minute
// without it is logged as an error. Without any node it serves all the same, and joins as soon as there is one.
// An empty service is TOSKA_SERVICE, else MESH_SERVICE_NAME; a nil handler is http.DefaultServeMux.
//
// HTTP/1.1 and HTTP/2 in the clear are served. Beside h, Join answers GET of /health, /health/live,
// /health/ready and /metrics. Where h is an *http.ServeMux with a pattern that names such a path (also one like
// /health/), the mux answers it; another handler keeps them with WithoutHealthEndpoints. /health/ready is 503
// while the service is failing (WithHealth) and from the end of ctx on. The mesh probes DefaultCheck, which is 503
// from the end of ctx on and not before: what WithHealth says is reported.
//
// h runs within Continue. If it panics, that request gets a 500, or its connection ends if it had begun to
// answer; the panic is logged with its stack, and the program lives.
//
// When ctx ends, /health/ready says so, the instance is drained, requests are served for the drain delay
// (WithDrainDelay), the instance is deregistered, no new connections are taken, and what is under way has the
// grace (WithGrace); Join returns nil then. Connections that a handler took over (WebSockets) are not waited
// for: a handler that wants to know watches its ctx.
//
// Join ends with an error when it cannot listen; when the mesh refuses the very first registration
// (mesh.ErrInvalid, mesh.ErrUnauthenticated, mesh.ErrForbidden …), or what answers at the address is no control
// port, as a discovery port that MESH_DISCOVERY_ADDRESS names on another machine (mesh.ErrInvalid); when several nodes of this user run and none
// was named; and when another program has registered the same id (mesh.ErrStale): that one is the instance
// now. What is under way is finished in each of these cases. An instance that an operator deregisters goes on
// serving without the mesh, and says so in its log.
func Join(ctx context.Context, service string, h http.Handler, opts ...Option) error {
	o, err := serviceOptions(opts)
	if err != nil {
		return err
	}
	m, err := o.member(service)
	if err != nil {
		return err
	}
	ln, err := o.bind(ctx)
	if err != nil {
		return err
	}
	if h == nil {
		h = http.DefaultServeMux
	}
	if !o.checkSet && !o.noEndpoints {
		m.registration.Check = &mesh.Check{HTTP: DefaultCheck}
	}
	// Handlers outlive ctx: what is under way is finished.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	return m.run(ctx, ln, newServer(base, newFront(m, h, o.noEndpoints), m.log))
}

// newServer serves HTTP/1.1 and HTTP/2 in the clear.
func newServer(base context.Context, h http.Handler, log *slog.Logger) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: h, Protocols: &protocols, ReadHeaderTimeout: readHeadTimeout, IdleTimeout: idleTimeout,
		BaseContext: func(net.Listener) context.Context { return base },
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// Server is what JoinListener serves with. One that can stop has, in the order in which they are looked for,
// Shutdown(context.Context) error, as http.Server; GracefulStop(), as grpc.Server, with Stop() for when the
// grace is over; Stop(); or Close() error.
type Server interface {
	// Serve accepts connections until the server is stopped or the listener is closed.
	Serve(net.Listener) error
}

// JoinListener is Join for a server of any protocol, as grpc.NewServer() makes one. The server handles its
// requests by itself: there are no health endpoints and no metrics, and the mesh probes a TCP connection
// unless WithCheck says otherwise. Serving ends with the drain delay as in Join; the server is then stopped by
// the way that Server tells, and its listener is closed. A server that ends by itself ends the membership, too,
// and JoinListener returns what it ended with.
func JoinListener(ctx context.Context, service string, server Server, opts ...Option) error {
	o, err := serviceOptions(opts)
	if err != nil {
		return err
	}
	m, err := o.member(service)
	if err != nil {
		return err
	}
	ln, err := o.bind(ctx)
	if err != nil {
		return err
	}
	return m.run(ctx, ln, server)
}

// bind opens the listener, unless there is one.
func (o *options) bind(ctx context.Context) (net.Listener, error) {
	if o.listener != nil {
		return o.listener, nil
	}
	address := o.listen
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w; WithListen or TOSKA_LISTEN chooses another address, port 0 any free one", err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return ln, nil
}

// stop stops a server: what is under way may take until ctx ends.
func stop(ctx context.Context, server Server) error {
	switch s := server.(type) {
	case interface{ Shutdown(context.Context) error }:
		err := s.Shutdown(ctx)
		if c, ok := server.(interface{ Close() error }); ok && err != nil {
			err = errors.Join(err, c.Close())
		}
		return err
	case interface{ GracefulStop() }:
		gracefulStop(ctx, s, server)
	case interface{ Stop() }:
		s.Stop()
	case interface{ Close() error }:
		return s.Close()
	}
	return nil
}

func gracefulStop(ctx context.Context, s interface{ GracefulStop() }, server Server) {
	stopped := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		s.GracefulStop()
		close(stopped)
	})
	select {
	case <-stopped:
	case <-ctx.Done():
		hard, ok := server.(interface{ Stop() })
		if !ok {
			return
		}
		hard.Stop() // which ends GracefulStop, too
	}
	wg.Wait()
}

// advertised returns the address and the port to register for a listener: an empty address leaves it to the
// node.
func advertised(ln net.Listener, as string) (address string, port int, err error) {
	tcp, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return "", 0, fmt.Errorf("advertise %v: this is no TCP address", ln.Addr())
	}
	if !tcp.IP.IsUnspecified() {
		address = tcp.IP.String()
	}
	if as == "" {
		return address, tcp.Port, nil
	}
	host, number, err := net.SplitHostPort(as)
	if err != nil {
		return as, tcp.Port, nil
	}
	port, err = strconv.Atoi(number)
	if err != nil || port < 1 || port > 65535 || host == "" {
		return "", 0, fmt.Errorf("advertise %s: it wants HOST or HOST:PORT", as)
	}
	return host, port, nil
}
