package httpapi

import (
	"context"
	"log/slog"

	"connectrpc.com/connect"
)

// NewInterceptor returns what every RPC handler of a listener is mounted with: may decides by
// procedure whether the caller in the context is admitted, errors travel as RPCError makes them, and
// those without a kind are logged.
func NewInterceptor(may func(ctx context.Context, procedure string) error, log *slog.Logger) connect.Interceptor {
	return &interceptor{may: may, log: log}
}

type interceptor struct {
	may func(ctx context.Context, procedure string) error
	log *slog.Logger
}

// WrapUnary implements connect.Interceptor.
func (i *interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if req.Spec().IsClient {
			return next(ctx, req)
		}
		if err := i.may(ctx, req.Spec().Procedure); err != nil {
			return nil, RPCError(err)
		}
		res, err := next(ctx, req)
		if err != nil {
			return nil, i.shown(ctx, req.Spec().Procedure, err)
		}
		return res, nil
	}
}

// WrapStreamingClient implements connect.Interceptor and changes nothing.
func (i *interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (i *interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := i.may(ctx, conn.Spec().Procedure); err != nil {
			return RPCError(err)
		}
		return i.shown(ctx, conn.Spec().Procedure, next(ctx, conn))
	}
}

// shown is err as the caller sees it.
func (i *interceptor) shown(ctx context.Context, procedure string, err error) error {
	out := RPCError(err)
	if out != nil && connect.CodeOf(out) == connect.CodeInternal {
		i.log.With(correlated(ctx)...).ErrorContext(ctx, "procedure failed", "procedure", procedure, "error", err)
	}
	return out
}
