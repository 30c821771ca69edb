// Package toskagrpc calls gRPC services of the mesh by name, over a toska.Client, and gives servers what the
// calls carry.
//
// Instances are chosen by the client's own rules: by lb_strategy and weight, without those that are failing,
// draining or left out for their failures. A package of its own, so that a service that speaks plain HTTP
// does not carry gRPC.
//
// # Concurrency
//
// Everything here is safe for concurrent use. Each connection follows its service in one goroutine, which
// ends with the connection.
package toskagrpc

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/toska-mesh/toska-mesh/toska"
)

// Scheme is that of targets, as in toska:///orders.
const Scheme = toska.Scheme

// Option is a rare thing of a connection.
type Option func(*settings)

type settings struct {
	idempotent map[string]bool
	tracers    trace.TracerProvider
	dial       []grpc.DialOption
}

// WithIdempotent names methods, as in "/orders.v1.Orders/Get", that may be acted upon twice: one of them
// that fails with UNAVAILABLE is sent again, once, to another instance, for a fifth of the service's calls at
// most. Other calls are sent again only if nothing was sent of them.
func WithIdempotent(methods ...string) Option {
	return func(s *settings) {
		for _, m := range methods {
			s.idempotent[m] = true
		}
	}
}

// WithTracerProvider records spans with p instead of the global provider of OpenTelemetry.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(s *settings) { s.tracers = p }
}

// WithDialOptions adds options of gRPC's own. They come last: credentials replace those in the clear, and a
// default service config replaces ours, which names the balancer.
func WithDialOptions(opts ...grpc.DialOption) Option {
	return func(s *settings) { s.dial = append(s.dial, opts...) }
}

// Dial returns a connection to a service. It connects when it is first used. Deadlines are gRPC's own; the
// trace, the correlation id and the hop count of the context go along, and each call is a span. The caller
// closes it, before the client.
func Dial(c *toska.Client, service string, opts ...Option) (*grpc.ClientConn, error) {
	s := settings{idempotent: map[string]bool{}}
	for _, o := range opts {
		o(&s)
	}
	calls := &calls{client: c, service: service, idempotent: s.idempotent, tracer: tracerOf(s.tracers)}
	dial := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithResolvers(NewResolver(c)),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"` + BalancerName + `":{}}]}`),
		grpc.WithChainUnaryInterceptor(calls.unary),
		grpc.WithChainStreamInterceptor(calls.stream),
		// Instances are on this machine or near: no proxy of the environment lies between.
		grpc.WithNoProxy(),
	}
	return grpc.NewClient(Scheme+":///"+service, append(dial, s.dial...)...)
}

func tracerOf(p trace.TracerProvider) func() trace.Tracer {
	const name = "github.com/toska-mesh/toska-mesh/toska/toskagrpc"
	if p == nil {
		return func() trace.Tracer { return otel.Tracer(name) }
	}
	t := p.Tracer(name)
	return func() trace.Tracer { return t }
}
