// Package toskaotel sets up OpenTelemetry for a program of the mesh: the spans that toska and toskagrpc make,
// and those of the program's own, go to a receiver over OTLP. Programs that set up the SDK by themselves do
// not need it.
//
// # Concurrency
//
// Setup changes what is global in OpenTelemetry, and is called once, first thing. The SDK that it starts sends
// in a goroutine of its own until it is shut down.
package toskaotel

import (
	"context"
	"fmt"
	"os"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// The protocols, as OTEL_EXPORTER_OTLP_PROTOCOL names them.
const (
	protocolGRPC = "grpc"
	protocolHTTP = "http/protobuf"
)

// Setup makes the global tracer provider send spans under the name of a service, and the global propagator
// carry trace and baggage. Where spans go is said by the environment:
//
//   - OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT, a URL such as http://localhost:4317,
//     else TOSKA_OTLP_ENDPOINT. Without one nothing is sent and no span recorded; traces go on all the same.
//   - OTEL_EXPORTER_OTLP_TRACES_PROTOCOL or OTEL_EXPORTER_OTLP_PROTOCOL: grpc, the default, or http/protobuf.
//   - OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, which win over the name given here.
//   - OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS and whatever else OpenTelemetry defines. OTEL_SDK_DISABLED
//     and OTEL_TRACES_EXPORTER=none switch it off.
//
// shutdown sends what waits, within its context, and is called when the program ends; it is never nil. The
// error, mesh.ErrInvalid, names what is wrong in the environment. A receiver that is away is no error.
func Setup(ctx context.Context, service string) (shutdown func(context.Context) error, err error) {
	return setup(ctx, service, os.Getenv)
}

func setup(ctx context.Context, service string, getenv func(string) string) (func(context.Context) error, error) {
	none := func(context.Context) error { return nil }
	e := environment(getenv)
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	if !e.enabled() {
		return none, nil
	}
	client, err := e.client()
	if err != nil {
		return none, err
	}
	out, err := otlptrace.New(ctx, client)
	if err != nil {
		return none, fmt.Errorf("open the export of spans: %w", err)
	}
	res, err := describe(ctx, service)
	if err != nil {
		return none, err
	}
	p := trace.NewTracerProvider(trace.WithBatcher(out), trace.WithResource(res))
	otel.SetTracerProvider(p)
	return p.Shutdown, nil
}

// describe says what every span tells of the program; the environment wins.
func describe(ctx context.Context, service string) (*resource.Resource, error) {
	res, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", service)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe the program to the receiver of spans: %w", err)
	}
	return res, nil
}

// environment reads what is set.
type environment func(string) string

func (e environment) first(names ...string) string {
	for _, name := range names {
		if v := strings.TrimSpace(e(name)); v != "" {
			return v
		}
	}
	return ""
}

// endpoint is where spans go. own says that the library does not know it by itself.
func (e environment) endpoint() (url string, own bool) {
	if v := e.first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"); v != "" {
		return v, false
	}
	return e.first("TOSKA_OTLP_ENDPOINT"), true
}

func (e environment) enabled() bool {
	url, _ := e.endpoint()
	return url != "" && !strings.EqualFold(e.first("OTEL_SDK_DISABLED"), "true") && e.first("OTEL_TRACES_EXPORTER") != "none"
}

// client is that of the protocol that is asked for.
func (e environment) client() (otlptrace.Client, error) {
	url, own := e.endpoint()
	if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
		return nil, wrong("OTEL_EXPORTER_OTLP_ENDPOINT", fmt.Sprintf("%q is not a URL such as http://localhost:4317", url))
	}
	switch protocol := e.first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); protocol {
	case "", protocolGRPC:
		if own {
			return otlptracegrpc.NewClient(otlptracegrpc.WithEndpointURL(url)), nil
		}
		return otlptracegrpc.NewClient(), nil
	case protocolHTTP:
		if own {
			return otlptracehttp.NewClient(otlptracehttp.WithEndpointURL(strings.TrimSuffix(url, "/") + "/v1/traces")), nil
		}
		return otlptracehttp.NewClient(), nil
	default:
		return nil, wrong("OTEL_EXPORTER_OTLP_PROTOCOL", fmt.Sprintf("%q is not spoken; there are %s and %s", protocol, protocolGRPC, protocolHTTP))
	}
}

func wrong(field, problem string) error {
	return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid, Detail: "the environment is wrong",
		Fields: []mesh.FieldError{{Field: field, Problem: problem}}}
}
