package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/danielgtaylor/huma/v2"

	"github.com/toska-mesh/toska-mesh/internal/signal/logattr"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
)

func TestACorrelationIDIsSentBackAndOnTheLinesOfTheLog(t *testing.T) {
	failing := func(log *slog.Logger) map[string]http.Handler {
		mux := http.NewServeMux()
		api := httpapi.NewAPI(mux, "v", log)
		httpapi.Handle(api, huma.Operation{OperationID: "fail", Method: http.MethodGet, Path: "/fail"},
			func(context.Context, *struct{}) (*struct{}, error) { return nil, errors.New("secret") })
		mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("secret") })
		unary := httpapi.NewInterceptor(func(context.Context, string) error { return nil }, log).WrapUnary(
			func(context.Context, connect.AnyRequest) (connect.AnyResponse, error) {
				return nil, errors.New("secret")
			})
		mux.HandleFunc("/rpc", func(w http.ResponseWriter, r *http.Request) {
			_, err := unary(r.Context(), connect.NewRequest(&struct{}{}))
			httpapi.WriteProblem(w, r, err)
		})
		h := httpapi.Handler(mux, loopback(), tokens{}, log)
		return map[string]http.Handler{"/fail": h, "/panic": h, "/rpc": h}
	}
	for _, row := range []struct {
		name, sent string
		kept       bool
	}{
		{"a sane one", "order-7/a", true},
		{"none", "", false},
		{"one that would break a line", "a\" b", false},
		{"one that is too long", strings.Repeat("x", 129), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			var logged bytes.Buffer
			for path, h := range failing(slog.New(logattr.New(slog.NewJSONHandler(&logged, nil), "n1"))) {
				logged.Reset()
				w := get(t, h, path, func(r *http.Request) {
					if row.sent != "" {
						r.Header.Set("x-correlation-id", row.sent)
					}
				})
				want := ""
				if row.kept {
					want = row.sent
				}
				if got := w.Header().Get(httpapi.CorrelationField); got != want {
					t.Errorf("%s: sent back %q, want %q", path, got, want)
				}
				var line map[string]any
				if err := json.Unmarshal(logged.Bytes(), &line); err != nil {
					t.Fatalf("%s: one line is wanted in the log: %v in %s", path, err, logged.String())
				}
				if got, _ := line["correlation_id"].(string); got != want || line["request_id"] == nil {
					t.Errorf("%s: logged %v, want correlation_id %q and a request_id", path, line, want)
				}
				if n := strings.Count(logged.String(), `"request_id"`); n != 1 {
					t.Errorf("%s: request_id is on the line %d times", path, n)
				}
			}
		})
	}
}
