package toskagrpc_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
	"github.com/toska-mesh/toska-mesh/toska/toskagrpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const check = "/grpc.health.v1.Health/Check"

// world is a registry, and a client that follows it.
type world struct {
	t        *testing.T
	registry *registry.Registry
	client   *toska.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	r, err := registry.New(registry.Config{NodeID: "node-1"}, memory.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	ready := make(chan struct{})
	wg.Go(func() {
		if err := r.Run(ctx, func() { close(ready) }); err != nil {
			t.Errorf("registry: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	<-ready
	c, err := toska.NewClient(toska.WithDiscovery(r), toska.WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &world{t, r, c}
}

// writer may write to the registry.
func writer(ctx context.Context) context.Context {
	return identity.NewContext(ctx, identity.Caller{Role: identity.Admin, Trusted: true})
}

// program serves gRPC's health protocol with a function.
type program struct {
	healthv1.UnimplementedHealthServer
	id     string
	server *grpc.Server
	check  func(ctx context.Context) error
	calls  atomic.Int64
	hang   atomic.Bool // answers nothing until the caller has left
}

func (p *program) Check(ctx context.Context, _ *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	p.calls.Add(1)
	if p.hang.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if p.check != nil {
		if err := p.check(ctx); err != nil {
			return nil, err
		}
	}
	_ = grpc.SetHeader(ctx, metadata.Pairs("instance", p.id))
	return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}, nil
}

// Watch sends two answers.
func (p *program) Watch(_ *healthv1.HealthCheckRequest, s grpc.ServerStreamingServer[healthv1.HealthCheckResponse]) error {
	if p.check != nil {
		if err := p.check(s.Context()); err != nil {
			return err
		}
	}
	for range 2 {
		if err := s.Send(&healthv1.HealthCheckResponse{}); err != nil {
			return err
		}
	}
	return nil
}

// start registers a program as an instance of orders.
func (w *world) start(id string, check func(ctx context.Context) error) *program {
	w.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	p := &program{id: id, check: check, server: grpc.NewServer(toskagrpc.ServerOptions(nil)...)}
	healthv1.RegisterHealthServer(p.server, p)
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.server.Serve(ln) })
	w.t.Cleanup(func() { p.server.Stop(); wg.Wait() })
	_, err = w.registry.Register(writer(w.t.Context()), mesh.Registration{Service: "orders", ID: id, Address: "127.0.0.1",
		Port: ln.Addr().(*net.TCPAddr).Port, Lifetime: mesh.Permanent})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) dial(opts ...toskagrpc.Option) healthv1.HealthClient {
	w.t.Helper()
	conn, err := toskagrpc.Dial(w.client, "orders", opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return healthv1.NewHealthClient(conn)
}

// ask makes one call, and returns which instance answered.
func ask(ctx context.Context, c healthv1.HealthClient, opts ...grpc.CallOption) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var md metadata.MD
	_, err := c.Check(ctx, &healthv1.HealthCheckRequest{}, append(opts, grpc.Header(&md))...)
	return strings.Join(md.Get("instance"), ","), err
}

// spread asks until every one of the instances has answered.
func spread(t *testing.T, c healthv1.HealthClient, ids ...string) {
	t.Helper()
	late := time.Now().Add(10 * time.Second)
	seen := map[string]bool{}
	for len(seen) < len(ids) {
		id, err := ask(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		seen[id] = true
		if time.Now().After(late) {
			t.Fatalf("only %v answered", seen)
		}
	}
}

func TestCallsReachTheInstancesOfAServiceByItsName(t *testing.T) {
	w := newWorld(t)
	w.start("a", nil)
	c := w.dial()
	spread(t, c, "a")
	w.start("b", nil)
	spread(t, c, "a", "b")
}

func TestU13ADrainingInstanceIsNotCalled(t *testing.T) {
	w := newWorld(t)
	w.start("a", nil)
	w.start("b", nil)
	c := w.dial()
	spread(t, c, "a", "b")
	if err := w.registry.Drain(writer(t.Context()), mesh.Ref{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	late := time.Now().Add(10 * time.Second)
	for row := 0; row < 50; {
		id, err := ask(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if row++; id == "a" {
			row = 0
		}
		if time.Now().After(late) {
			t.Fatal("the draining instance is still called")
		}
	}
}

func TestN17AnInstanceThatIsKilledFailsAtMostOneCall(t *testing.T) {
	w := newWorld(t)
	victim := w.start("a", nil)
	w.start("b", nil)
	c := w.dial(toskagrpc.WithIdempotent(check))
	spread(t, c, "a", "b")
	failed := 0
	for i := range 300 {
		if i == 100 {
			go victim.server.Stop()
		}
		if _, err := ask(t.Context(), c); err != nil {
			t.Log(err)
			failed++
		}
	}
	if failed > 1 {
		t.Errorf("%d of 300 calls failed, want at most 1", failed)
	}
}

func TestAnInstanceThatIsUnavailableIsLeftOutAndIdempotentCallsGoElsewhere(t *testing.T) {
	for _, tt := range []struct {
		name   string
		opts   []toskagrpc.Option
		failed int
	}{
		{"a method that is marked is called again", []toskagrpc.Option{toskagrpc.WithIdempotent(check)}, 0},
		{"U-7 another is not", nil, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			var away atomic.Bool
			bad := w.start("a", func(context.Context) error {
				if away.Load() {
					return status.Error(codes.Unavailable, "away")
				}
				return nil
			})
			w.start("b", nil)
			c := w.dial(tt.opts...)
			spread(t, c, "a", "b")
			away.Store(true)
			before, failed := bad.calls.Load(), 0
			for range 100 {
				if _, err := ask(t.Context(), c); err != nil {
					failed++
				}
			}
			if failed != tt.failed {
				t.Errorf("%d calls failed, want %d", failed, tt.failed)
			}
			if n := bad.calls.Load() - before; n != 5 {
				t.Errorf("the instance was called %d times, want 5 until it is left out", n)
			}
		})
	}
}

func TestRetriesAreBoundedByTheBudgetWhenAllAreUnavailable(t *testing.T) {
	w := newWorld(t)
	away := func(context.Context) error { return status.Error(codes.Unavailable, "away") }
	a, b := w.start("a", away), w.start("b", away)
	c := w.dial(toskagrpc.WithIdempotent(check))
	const n = 200
	for range n {
		if _, err := ask(t.Context(), c); status.Code(err) != codes.Unavailable {
			t.Fatalf("error %v", err)
		}
	}
	if total := int(a.calls.Load() + b.calls.Load()); total > n*12/10+15 {
		t.Errorf("%d calls arrived of %d, want at most a fifth on top, and the reserve", total, n)
	}
}

func TestAServiceWithoutInstancesSaysSo(t *testing.T) {
	w := newWorld(t)
	c := w.dial()
	_, err := ask(t.Context(), c)
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "no instance of this service is registered") {
		t.Errorf("error %v", err)
	}
	w.start("a", nil)
	until(t, c, func(err error) bool { return err == nil })
	if err := w.registry.Deregister(writer(t.Context()), mesh.Ref{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	until(t, c, func(err error) bool {
		return err != nil && strings.Contains(err.Error(), "no instance of this service is registered")
	})
}

// until asks until the outcome is what it should be.
func until(t *testing.T, c healthv1.HealthClient, ok func(error) bool) {
	t.Helper()
	late := time.Now().Add(10 * time.Second)
	for {
		_, err := ask(t.Context(), c)
		if ok(err) {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("still %v", err)
		}
	}
}

func TestWhatTheContextCarriesGoesAlongAndOn(t *testing.T) {
	w := newWorld(t)
	var got metadata.MD
	var correlation string
	var left time.Duration
	w.start("a", func(ctx context.Context) error {
		got, _ = metadata.FromIncomingContext(ctx)
		correlation = toska.CorrelationFromContext(ctx)
		deadline, _ := ctx.Deadline()
		left = time.Until(deadline)
		return nil
	})
	spans := tracetest.NewSpanRecorder()
	c := w.dial(toskagrpc.WithTracerProvider(trace.NewTracerProvider(trace.WithSpanProcessor(spans))))
	ctx := metadata.AppendToOutgoingContext(toska.ContextWithCorrelation(t.Context(), "c-1"), "own", "kept")
	if _, err := ask(ctx, c); err != nil {
		t.Fatal(err)
	}
	if correlation != "c-1" || len(got.Get("own")) != 1 || left > 10*time.Second || left < 5*time.Second {
		t.Errorf("correlation %q, metadata %v, %v left", correlation, got, left)
	}
	s := spans.Ended()[0]
	if s.Name() != "grpc.health.v1.Health/Check" || !strings.Contains(strings.Join(got.Get("traceparent"), ""), s.SpanContext().SpanID().String()) {
		t.Errorf("span %s %s, traceparent %v", s.Name(), s.SpanContext().SpanID(), got.Get("traceparent"))
	}
}

func TestAStreamIsASpanFromItsBeginningToItsEnd(t *testing.T) {
	w := newWorld(t)
	w.start("a", nil)
	spans := tracetest.NewSpanRecorder()
	c := w.dial(toskagrpc.WithTracerProvider(trace.NewTracerProvider(trace.WithSpanProcessor(spans))))
	s, err := c.Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		if _, err := s.Recv(); errors.Is(err, io.EOF) {
			break
		} else if err != nil || n > 2 {
			t.Fatalf("answer %d: %v", n, err)
		}
		if len(spans.Ended()) != 0 {
			t.Error("the span ended before the stream")
		}
	}
	if n := len(spans.Ended()); n != 1 {
		t.Fatalf("%d spans", n)
	}
}

func TestAHandlerThatPanicsEndsItsOwnCallAlone(t *testing.T) {
	w := newWorld(t)
	var angry atomic.Bool
	w.start("a", func(context.Context) error {
		if angry.Load() {
			panic("oh no")
		}
		return nil
	})
	c := w.dial()
	spread(t, c, "a")
	angry.Store(true)
	if _, err := ask(t.Context(), c); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "oh no") {
		t.Errorf("error %v, want INTERNAL without what the panic said", err)
	}
	s, err := c.Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); status.Code(err) != codes.Internal {
		t.Errorf("a stream's error %v", err)
	}
	angry.Store(false)
	spread(t, c, "a")
}

func TestAPanicIsLoggedWithItsStack(t *testing.T) {
	w := newWorld(t)
	var log strings.Builder
	p := &program{id: "a", check: func(context.Context) error { panic("oh no") },
		server: grpc.NewServer(toskagrpc.ServerOptions(slog.New(slog.NewTextHandler(&log, nil)))...)}
	healthv1.RegisterHealthServer(p.server, p)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.server.Serve(ln) })
	_, err = w.registry.Register(writer(t.Context()), mesh.Registration{Service: "orders", Address: "127.0.0.1",
		Port: ln.Addr().(*net.TCPAddr).Port, Lifetime: mesh.Permanent})
	if err != nil {
		t.Fatal(err)
	}
	var at peer.Peer
	_, err = ask(t.Context(), w.dial(), grpc.Peer(&at))
	p.server.Stop()
	wg.Wait()
	if err == nil || !strings.Contains(log.String(), "oh no") || !strings.Contains(log.String(), "toskagrpc_test.go") {
		t.Errorf("%v at %v; log %q", err, at.Addr, log.String())
	}
}

func TestAnInstanceThatHangsIsLeftOutHoweverShortTheDeadlines(t *testing.T) {
	w := newWorld(t)
	well := w.start("well", nil)
	hung := w.start("hung", nil)
	c := w.dial()
	spread(t, c, "well", "hung")
	hung.hang.Store(true)
	call := func() {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, _ = ask(ctx, c)
	}
	for range 40 {
		call()
	}
	before, served := hung.calls.Load(), well.calls.Load()
	for range 40 {
		call()
	}
	if hung.calls.Load() != before || well.calls.Load() == served {
		t.Errorf("the hung instance was called %d times more, the other one %d times", hung.calls.Load()-before, well.calls.Load()-served)
	}
}
