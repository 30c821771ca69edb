package toska

import (
	"context"
	"crypto/rand"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// The fields that go from service to service.
const (
	// TimeoutField is what is left of the caller's deadline, in milliseconds.
	TimeoutField = "Toska-Timeout"
	// CorrelationField is an id that stays the same through all that one request brings about.
	CorrelationField = "X-Correlation-ID"
	// hopsField counts the gateways that a request has passed; each of them raises it.
	hopsField = "Toska-Hops"
)

const (
	// longestCorrelation is how long a correlation id may be that is carried on.
	longestCorrelation = 128
	// longestTimeout is what a deadline from outside is read up to.
	longestTimeout = 24 * time.Hour
)

// traceContext is spoken whatever the program's own propagator is: a trace goes on through services that
// have set up none.
var traceContext propagation.TraceContext

// Continue returns a handler that puts what came with a request into its context, so that calls made with it
// through a Client carry it on: the trace (traceparent), the correlation id (X-Correlation-ID, else the
// X-Request-Id, else a new one), the hop count (Toska-Hops), and the caller's deadline (Toska-Timeout). A
// trace that an outer handler has begun is kept.
func Continue(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := Carried(r.Context(), r.Header)
		if left, ok := parseTimeout(r.Header.Get(TimeoutField)); ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, left)
			defer cancel()
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Carried returns a context with what the fields of a request carry, but for the deadline. Continue does that
// for HTTP; it is here for protocols of one's own.
func Carried(ctx context.Context, h http.Header) context.Context {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		carrier := propagation.HeaderCarrier(h)
		ctx = otel.GetTextMapPropagator().Extract(traceContext.Extract(ctx, carrier), carrier)
	}
	ctx = ContextWithCorrelation(ctx, correlationOf(h))
	if hops := h.Values(hopsField); len(hops) > 0 {
		ctx = context.WithValue(ctx, hopsKey{}, hops)
	}
	return ctx
}

type (
	hopsKey        struct{}
	correlationKey struct{}
)

// ContextWithCorrelation returns a context with a correlation id for the calls that are made with it. An id
// that is empty, longer than 128 bytes or not of visible ASCII is left out.
func ContextWithCorrelation(ctx context.Context, id string) context.Context {
	if !sane(id) {
		return ctx
	}
	return context.WithValue(ctx, correlationKey{}, id)
}

// CorrelationFromContext returns the correlation id that calls carry on; empty if there is none.
func CorrelationFromContext(ctx context.Context) string {
	id, _ := ctx.Value(correlationKey{}).(string)
	return id
}

func correlationOf(h http.Header) string {
	for _, name := range [...]string{CorrelationField, "X-Request-Id"} {
		if id := h.Get(name); sane(id) {
			return id
		}
	}
	return strings.ToLower(rand.Text())
}

func sane(id string) bool {
	if id == "" || len(id) > longestCorrelation {
		return false
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// parseTimeout reads whole milliseconds. What is no number is no deadline.
func parseTimeout(s string) (time.Duration, bool) {
	ms, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, false
	}
	return time.Duration(min(ms, uint64(longestTimeout/time.Millisecond))) * time.Millisecond, true
}

// Carry writes what the context carries into the fields of a request, with what is left of its deadline. What
// is written there already stays, but for the trace, which goes on from the context's span. A Client does
// that for HTTP; it is here for protocols of one's own.
func Carry(ctx context.Context, h http.Header) {
	carrier := propagation.HeaderCarrier(h)
	traceContext.Inject(ctx, carrier)
	otel.GetTextMapPropagator().Inject(ctx, carrier)
	if id := CorrelationFromContext(ctx); id != "" && h.Get(CorrelationField) == "" {
		h.Set(CorrelationField, id)
	}
	if hops, _ := ctx.Value(hopsKey{}).([]string); len(hops) > 0 && h.Get(hopsField) == "" {
		h[hopsField] = slices.Clone(hops)
	}
	if deadline, ok := ctx.Deadline(); ok && h.Get(TimeoutField) == "" {
		// At least one: none is for whoever has no deadline.
		h.Set(TimeoutField, strconv.FormatInt(max(time.Until(deadline).Milliseconds(), 1), 10))
	}
}
