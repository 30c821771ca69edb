package toska

import (
	"context"
	"net"
	"strconv"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// tracerName is the instrumentation scope of the spans.
const tracerName = "github.com/toska-mesh/toska-mesh/toska"

// Attributes of OpenTelemetry's semantic conventions 1.43 for clients of HTTP, and one of ours.
const (
	attrMethod   = attribute.Key("http.request.method")
	attrResend   = attribute.Key("http.request.resend_count")
	attrStatus   = attribute.Key("http.response.status_code")
	attrAddress  = attribute.Key("server.address")
	attrPort     = attribute.Key("server.port")
	attrURL      = attribute.Key("url.full")
	attrPeer     = attribute.Key("service.peer.name")
	attrInstance = attribute.Key("toska.instance")
	attrError    = attribute.Key("error.type")
)

// typeCanceled is the error.type of an attempt that the caller broke off.
const typeCanceled = "canceled"

// tracerOf returns where tracers come from: the global provider is asked each time, since a program may set
// it after the client was made.
func tracerOf(p trace.TracerProvider) func() trace.Tracer {
	if p == nil {
		return func() trace.Tracer { return otel.Tracer(tracerName) }
	}
	t := p.Tracer(tracerName)
	return func() trace.Tracer { return t }
}

// span begins the span of an attempt, and returns the context that it is sent with.
func (a *call) span(t *attempt) context.Context {
	method := a.req.Method
	if method == "" {
		method = "GET"
	}
	ctx, span := a.client.tracer().Start(a.req.Context(), method, trace.WithSpanKind(trace.SpanKindClient))
	t.span = span
	if !span.IsRecording() {
		return ctx
	}
	host, port, _ := net.SplitHostPort(t.endpoint.Addr)
	number, _ := strconv.Atoi(port)
	url := *a.req.URL
	url.User = nil
	span.SetAttributes(attrMethod.String(method), attrAddress.String(host), attrPort.Int(number), attrURL.String(url.String()),
		attrPeer.String(t.up.Service), attrInstance.String(t.endpoint.ID))
	if n := a.tries.Len() - 1; n > 0 {
		span.SetAttributes(attrResend.Int(n))
	}
	return ctx
}

// status notes what the endpoint answered.
func (t *attempt) status(code int) {
	t.span.SetAttributes(attrStatus.Int(code))
	if code >= 400 {
		t.span.SetAttributes(attrError.String(strconv.Itoa(code)))
		t.span.SetStatus(codes.Error, "")
	}
}

func (t *attempt) endSpan(problem string) {
	if problem != "" {
		t.span.SetAttributes(attrError.String(problem))
		t.span.SetStatus(codes.Error, problem)
	}
	t.span.End()
}
