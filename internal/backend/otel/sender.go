package otel

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/toska-mesh/toska-mesh/internal/signal/span"
)

// sender is what one run of an Exporter sends with.
type sender struct {
	e        *Exporter
	out      *otlptrace.Exporter
	scope    instrumentation.Scope
	resource *resource.Resource
	batch    tracetest.SpanStubs
	failing  bool // the last batch could not be sent
}

// scopeOf names what made the spans as the family's services name theirs.
func scopeOf(n Node) instrumentation.Scope {
	return instrumentation.Scope{Name: "ToskaMesh.Gateway", Version: n.Version}
}

// run sends until ctx ends, then what waits. behind outlives ctx for as long as that may take.
func (s *sender) run(ctx, behind context.Context) {
	tick := time.NewTicker(lingers)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case sp := <-s.e.queue:
			s.add(behind, sp)
		case <-tick.C:
			s.flush(behind)
		}
	}
	for {
		select {
		case sp := <-s.e.queue:
			s.add(behind, sp)
			continue
		default:
		}
		s.flush(behind)
		return
	}
}

func (s *sender) add(ctx context.Context, sp span.Span) {
	s.batch = append(s.batch, s.stub(&sp))
	if len(s.batch) >= batched {
		s.flush(ctx)
	}
}

// flush sends the batch. One that cannot be sent, after the library's own retries, is lost.
func (s *sender) flush(ctx context.Context) {
	n := len(s.batch)
	if n == 0 {
		return
	}
	err := s.out.ExportSpans(ctx, s.batch.Snapshots())
	clear(s.batch)
	s.batch = s.batch[:0]
	switch {
	case err == nil:
		s.e.sent.Add(uint64(n))
		if s.failing {
			s.e.log.Info("spans are sent again", "dropped", s.e.Dropped())
		}
	default:
		s.e.dropped.Add(uint64(n))
		if !s.failing {
			s.e.log.Warn("spans cannot be sent and are dropped", "error", err)
		}
	}
	s.failing = err != nil
}

// stub turns a span into what the SDK exports. The SDK makes ids of its own otherwise, but ours have
// gone to the endpoint already.
func (s *sender) stub(sp *span.Span) tracetest.SpanStub {
	var parent trace.SpanContext
	if sp.Parent != [8]byte{} {
		parent = trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: sp.Trace, SpanID: sp.Parent, TraceFlags: trace.FlagsSampled, Remote: true,
		})
	}
	out := tracetest.SpanStub{
		Name: text(sp.Name), SpanKind: kinds[sp.Kind], StartTime: sp.Start, EndTime: sp.End, Parent: parent,
		SpanContext: trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: sp.Trace, SpanID: sp.ID, TraceFlags: trace.FlagsSampled,
		}),
		Attributes: attributes(sp), Resource: s.resource, InstrumentationScope: s.scope,
	}
	switch sp.Status {
	case span.Error:
		out.Status.Code, out.Status.Description = codes.Error, text(sp.Reason)
	case span.OK:
		out.Status.Code = codes.Ok
	case span.Unset:
	}
	return out
}

var kinds = [...]trace.SpanKind{
	span.Server: trace.SpanKindServer, span.Client: trace.SpanKindClient, span.Internal: trace.SpanKindInternal,
}

// maxText bounds what a client can put into a span: a batch has to fit into a request.
const maxText = 1024

// text makes a value that a message can hold: one that is no UTF-8 would spoil the whole batch.
func text(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxText)], "\uFFFD") }

// attributes are named by the semantic conventions where those have a name.
func attributes(sp *span.Span) []attribute.KeyValue {
	out := make([]attribute.KeyValue, 0, 16)
	for _, a := range [...]struct{ key, value string }{
		{"http.request.method", sp.Method}, {"url.path", sp.Path}, {"url.scheme", sp.Scheme},
		{"http.route", sp.Route}, {"network.protocol.version", sp.Version}, {"client.address", sp.Client},
		{"error.type", sp.Code},
		{"toska.service", sp.Service}, {"toska.endpoint", sp.Endpoint}, {"toska.request_id", sp.RequestID},
	} {
		if a.value != "" {
			out = append(out, attribute.String(a.key, text(a.value)))
		}
	}
	for _, a := range [...]struct {
		key   string
		value int
	}{
		{"http.response.status_code", sp.StatusCode}, {"toska.attempts", sp.Attempts},
		{"http.request.body.size", int(sp.BytesIn)}, {"http.response.body.size", int(sp.BytesOut)},
	} {
		if a.value != 0 {
			out = append(out, attribute.Int(a.key, a.value))
		}
	}
	return out
}
