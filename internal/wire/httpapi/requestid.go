package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"

	"github.com/toska-mesh/toska-mesh/internal/signal/logattr"
	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// RequestIDField is the header field that carries the request's id, both ways.
const RequestIDField = "X-Request-Id"

// maxRequestID bounds what a client may make us repeat in answers and logs.
const maxRequestID = 128

type requestIDKey struct{}

// RequestID returns the id of the request that ctx belongs to; empty outside of one.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// CorrelationField is the header field by which the family's clients tie requests together. It is logged and
// sent back, and never made up: a request has an id of its own.
const CorrelationField = "X-Correlation-ID"

type correlationKey struct{}

// correlated returns the attributes by which a line in the log is found: the request's id, and the
// correlation id if the client sent one.
func correlated(ctx context.Context) []any {
	out := []any{logattr.KeyRequest, RequestID(ctx)}
	if id, _ := ctx.Value(correlationKey{}).(string); id != "" {
		out = append(out, logattr.KeyCorrelation, id)
	}
	return out
}

// withRequestID reads the request's id, or makes one, and sends it back with the answer, as it does a
// correlation id.
func withRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := RequestID(r.Context()) // an exchange's own
		if id == "" {
			id = r.Header.Get(RequestIDField)
			if !saneRequestID(id) {
				id = newRequestID()
			}
		}
		w.Header().Set(RequestIDField, id)
		ctx := context.WithValue(r.Context(), requestIDKey{}, id)
		facts := logattr.Facts{Request: id, Trace: traceID(r)}
		if c := r.Header.Get(CorrelationField); saneRequestID(c) {
			facts.Correlation = c
			w.Header().Set(CorrelationField, c)
			ctx = context.WithValue(ctx, correlationKey{}, c)
		}
		ctx = logattr.NewContext(ctx, facts)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// traceID returns the id of the trace that the caller says the request belongs to; empty for none.
func traceID(r *http.Request) string {
	t, ok := exchange.ParseTrace([]byte(r.Header.Get("traceparent")))
	if !ok {
		return ""
	}
	return string(t.AppendID(nil))
}

// saneRequestID admits what can be written to a log line and a header field without quoting.
func saneRequestID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for i := range len(id) {
		c := id[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == ':', c == '/', c == '+', c == '=', c == '@':
		default:
			return false
		}
	}
	return true
}

func newRequestID() string {
	var b [16]byte
	// It never fails: the runtime ends the process first.
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
