package toskagrpc

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/toska-mesh/toska-mesh/toska"
)

// ServerOptions are what a server of the mesh is made with, for grpc.NewServer: calls made with the context of
// a handler carry on the trace, the correlation id and the hop count of its request, and a handler that
// panics ends its own call with INTERNAL, is logged with its stack, and harms no other. The logger may be
// nil.
func ServerOptions(log *slog.Logger) []grpc.ServerOption {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	g := guard{log}
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(g.unary), grpc.ChainStreamInterceptor(g.stream)}
}

type guard struct{ log *slog.Logger }

func (g guard) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (res any, err error) {
	defer g.contain(ctx, info.FullMethod, &err)
	return next(carried(ctx), req)
}

func (g guard) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	ctx := carried(s.Context())
	defer g.contain(ctx, info.FullMethod, &err)
	return next(srv, &stream{s, ctx})
}

// contain turns a panic into the call's error.
func (g guard) contain(ctx context.Context, method string, err *error) {
	v := recover()
	if v == nil {
		return
	}
	g.log.ErrorContext(ctx, "handler panicked", "method", method, "panic", v, "stack", string(debug.Stack()))
	*err = status.Error(codes.Internal, "the handler panicked; the service's log has its stack")
}

func carried(ctx context.Context) context.Context {
	md, _ := metadata.FromIncomingContext(ctx)
	h := make(http.Header, len(md))
	for key, values := range md {
		h[http.CanonicalHeaderKey(key)] = values
	}
	return toska.Carried(ctx, h)
}

// stream is a server's stream with a context of its own.
type stream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *stream) Context() context.Context { return s.ctx }
