// Package otel sends spans to an OpenTelemetry receiver, over gRPC or HTTP.
//
// # Concurrency
//
// Record is safe for concurrent use and never waits: it puts the span into a bounded queue that Run
// sends from. Run is called once at a time, and may be called again after it has returned.
package otel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/toska-mesh/toska-mesh/internal/signal/span"
)

const (
	// queued is how many spans wait at most.
	queued = 4096
	// batched is how many are sent together at most.
	batched = 512
	// lingers is how long a span waits for others to be sent with.
	lingers = 2 * time.Second
	// flushes is how long the last spans may take to leave when Run ends.
	flushes = 3 * time.Second
)

// Node is what every span says of the node that it comes from.
type Node struct {
	// Service is the name that traces are found under, unless OTEL_SERVICE_NAME has another.
	Service string
	ID      string
	Version string
}

// Exporter sends spans. It is a span.Recorder.
type Exporter struct {
	plan    Plan
	node    Node
	log     *slog.Logger
	queue   chan span.Span
	dropped atomic.Uint64
	sent    atomic.Uint64
}

var _ span.Recorder = (*Exporter)(nil)

// New returns an exporter for a plan that is enabled. It starts nothing and opens no connection.
func New(plan Plan, node Node, log *slog.Logger) *Exporter {
	return &Exporter{plan: plan, node: node, log: log, queue: make(chan span.Span, queued)}
}

// Record implements span.Recorder.
func (e *Exporter) Record(s span.Span) {
	select {
	case e.queue <- s:
	default:
		e.dropped.Add(1)
	}
}

// Dropped returns how many spans were lost so far: the queue was full, or they could not be sent.
func (e *Exporter) Dropped() uint64 { return e.dropped.Load() }

// Sent returns how many spans the receiver has taken.
func (e *Exporter) Sent() uint64 { return e.sent.Load() }

// Run sends spans until ctx ends, then those that wait, for a bounded time. A receiver that is away is
// no error: spans are lost, and it says so once.
func (e *Exporter) Run(ctx context.Context, ready func()) error {
	res, err := e.resource(ctx)
	if err != nil {
		return err
	}
	// What is being sent when ctx ends may still arrive.
	behind, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	last := time.AfterFunc(math.MaxInt64, cut)
	defer last.Stop()
	defer context.AfterFunc(ctx, func() { last.Reset(flushes) })()

	out, err := otlptrace.New(behind, e.client())
	if err != nil {
		return fmt.Errorf("open the export of spans: %w", err)
	}
	ready()
	s := sender{e: e, out: out, scope: scopeOf(e.node), resource: res}
	s.run(ctx, behind)
	if err := out.Shutdown(behind); err != nil && behind.Err() == nil {
		return fmt.Errorf("close the export of spans: %w", err)
	}
	return nil
}

func (e *Exporter) client() otlptrace.Client {
	p := &e.plan
	if p.Protocol == HTTP {
		return otlptracehttp.NewClient(httpOptions(p)...)
	}
	return otlptracegrpc.NewClient(grpcOptions(p)...)
}

// What the plan leaves open the library takes from the environment.
func httpOptions(p *Plan) (opts []otlptracehttp.Option) {
	switch url, isURL := endpointURL(p); {
	case isURL:
		opts = append(opts, otlptracehttp.WithEndpointURL(url))
	case p.endpoint != "":
		opts = append(opts, otlptracehttp.WithEndpoint(p.endpoint))
		if p.insecure {
			opts = append(opts, otlptracehttp.WithInsecure())
		}
	}
	if len(p.headers) > 0 {
		opts = append(opts, otlptracehttp.WithHeaders(p.headers))
	}
	return opts
}

func grpcOptions(p *Plan) (opts []otlptracegrpc.Option) {
	switch url, isURL := endpointURL(p); {
	case isURL:
		opts = append(opts, otlptracegrpc.WithEndpointURL(url))
	case p.endpoint != "":
		opts = append(opts, otlptracegrpc.WithEndpoint(p.endpoint))
		if p.insecure {
			opts = append(opts, otlptracegrpc.WithInsecure())
		}
	}
	if len(p.headers) > 0 {
		opts = append(opts, otlptracegrpc.WithHeaders(p.headers))
	}
	return opts
}

// endpointURL gives a URL without a path the one that receivers listen at.
func endpointURL(p *Plan) (url string, ok bool) {
	scheme, rest, ok := strings.Cut(p.endpoint, "://")
	if !ok {
		return "", false
	}
	host, path, _ := strings.Cut(rest, "/")
	if path == "" && p.Protocol == HTTP {
		path = "v1/traces"
	}
	return scheme + "://" + host + "/" + path, true
}

// resource is what all spans have in common. The environment wins (OTEL_SERVICE_NAME,
// OTEL_RESOURCE_ATTRIBUTES).
func (e *Exporter) resource(ctx context.Context) (*resource.Resource, error) {
	res, err := resource.New(ctx,
		resource.WithAttributes(
			attribute.String("service.name", e.node.Service),
			attribute.String("service.version", e.node.Version),
			attribute.String("service.instance.id", e.node.ID)),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) && !errors.Is(err, resource.ErrSchemaURLConflict) {
		return nil, fmt.Errorf("describe the node for spans: %w", err)
	}
	return res, nil
}
