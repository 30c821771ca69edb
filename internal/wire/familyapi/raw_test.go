package familyapi_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/grpc/metadata"
)

func withToken(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

func request(t *testing.T, url string, msg []byte) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(envelope(msg)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	return r
}

// call sends one gRPC message to a handler without a connection and returns the bytes of the answer.
func call(t *testing.T, h http.Handler, method string, msg []byte) []byte {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, service+method, bytes.NewReader(envelope(msg)))
	r.Host = "127.0.0.1:8080"
	r.Header.Set("Content-Type", "application/grpc")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Body.Len() < 5 {
		t.Fatalf("%s: %d bytes, fields %v", method, w.Body.Len(), w.Header())
	}
	return w.Body.Bytes()[5:]
}
