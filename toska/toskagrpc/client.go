package toskagrpc

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/toska-mesh/toska-mesh/toska"
)

// Attributes of OpenTelemetry's semantic conventions 1.43 for RPC.
const (
	attrSystem = attribute.Key("rpc.system.name")
	attrMethod = attribute.Key("rpc.method")
	attrStatus = attribute.Key("rpc.response.status_code")
	attrError  = attribute.Key("error.type")
	attrPeer   = attribute.Key("service.peer.name")
)

// calls are the interceptors of a connection.
type calls struct {
	client     *toska.Client
	service    string
	idempotent map[string]bool
	tracer     func() trace.Tracer
}

// unary makes a call, and makes it once more where that is allowed.
func (c *calls) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	ctx, span := c.begin(ctx, method)
	call, done := c.call(ctx, method)
	defer done()
	if call != nil {
		ctx = contextWithCall(ctx, call)
	}
	for {
		err := invoke(ctx, method, req, reply, cc, opts...)
		if call != nil && status.Code(err) == codes.Unavailable && ctx.Err() == nil && call.Retry() {
			continue
		}
		endSpan(span, err)
		return err
	}
}

// call is the one that a method which may be made again picks its endpoints through; nil for other methods,
// whose picks stand for themselves.
func (c *calls) call(ctx context.Context, method string) (*toska.Call, func()) {
	if !c.idempotent[method] {
		return nil, func() {}
	}
	u, err := c.client.Upstream(c.service)
	if err != nil {
		return nil, func() {}
	}
	call, err := u.Call(ctx)
	if err != nil {
		return nil, u.Close // the connection has its own words for it
	}
	return call, u.Close
}

func (c *calls) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	ctx, span := c.begin(ctx, method)
	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		endSpan(span, err)
		return nil, err
	}
	w := &watched{ClientStream: s, span: span, single: !desc.ServerStreams}
	w.mu.Lock()
	defer w.mu.Unlock()
	// Whoever has read enough of a stream cancels its context.
	w.stop = context.AfterFunc(ctx, func() { w.finish(status.FromContextError(ctx.Err()).Err()) })
	return w, nil
}

// begin starts the span of a call, and lets its context carry what goes along.
func (c *calls) begin(ctx context.Context, method string) (context.Context, trace.Span) {
	name := strings.TrimPrefix(method, "/")
	ctx, span := c.tracer().Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attrSystem.String("grpc"), attrMethod.String(name), attrPeer.String(c.service)))
	h := http.Header{}
	toska.Carry(ctx, h)
	h.Del(toska.TimeoutField) // gRPC has its own
	md, _ := metadata.FromOutgoingContext(ctx)
	md = md.Copy()
	if md == nil {
		md = metadata.MD{}
	}
	for field, values := range h {
		if key := strings.ToLower(field); len(md.Get(key)) == 0 {
			md.Set(key, values...)
		}
	}
	return metadata.NewOutgoingContext(ctx, md), span
}

func endSpan(span trace.Span, err error) {
	code := status.Code(err)
	span.SetAttributes(attrStatus.String(code.String()))
	if err != nil {
		span.SetAttributes(attrError.String(code.String()))
		span.SetStatus(otelcodes.Error, "")
	}
	span.End()
}

// watched is a stream whose span ends with it.
type watched struct {
	grpc.ClientStream
	span   trace.Span
	single bool // one answer is all

	mu    sync.Mutex // guards what follows
	stop  func() bool
	ended bool
}

// RecvMsg implements grpc.ClientStream.
func (w *watched) RecvMsg(m any) error {
	err := w.ClientStream.RecvMsg(m)
	switch {
	case errors.Is(err, io.EOF), err == nil && w.single:
		w.finish(nil)
	case err != nil:
		w.finish(err)
	}
	return err
}

func (w *watched) finish(err error) {
	w.mu.Lock()
	ended, stop := w.ended, w.stop
	w.ended = true
	w.mu.Unlock()
	if !ended {
		stop()
		endSpan(w.span, err)
	}
}
