package toska

import (
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// clientSettings are what options say of a Client.
type clientSettings struct {
	discovery mesh.Discovery // nil for a Mesh of its own
	tracers   trace.TracerProvider
	attempt   time.Duration
}

// defaultAttempt is how long an instance may take to begin its answer, as at a gateway.
const defaultAttempt = 10 * time.Second

// WithDiscovery uses d instead of a Mesh that is made for the purpose. The caller closes d, after everything
// that uses it. One Mesh may serve Join and several clients.
func WithDiscovery(d mesh.Discovery) Option {
	return func(o *options) { o.client.discovery = d }
}

// WithTracerProvider records the spans of a Client with p; the default is the global provider of
// OpenTelemetry, which records nothing until the program sets one (see toskaotel).
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(o *options) { o.client.tracers = p }
}

// WithAttemptTimeout bounds how long one instance may take to begin its answer to a Client, once it has the
// whole request; the default is 10 s, and zero is no bound. The context of a request bounds all of it.
func WithAttemptTimeout(d time.Duration) Option {
	return func(o *options) { o.client.attempt = d }
}
