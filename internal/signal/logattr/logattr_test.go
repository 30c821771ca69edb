package logattr_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"testing/slogtest"

	"github.com/toska-mesh/toska-mesh/internal/signal/logattr"
)

func TestLinesCarryWhatTheContextKnows(t *testing.T) {
	known := logattr.NewContext(context.Background(), logattr.Facts{Request: "r1", Trace: "t1", Role: "gateway"})
	for _, tt := range []struct {
		name string
		ctx  context.Context
		log  func(context.Context, *slog.Logger)
		want string
	}{
		{"a context without facts adds the node alone", context.Background(),
			func(ctx context.Context, l *slog.Logger) { l.InfoContext(ctx, "m") }, `"msg":"m","node":"n1"}`},
		{"facts are added", known,
			func(ctx context.Context, l *slog.Logger) { l.InfoContext(ctx, "m", "a", 1) },
			`"msg":"m","node":"n1","a":1,"request_id":"r1","trace_id":"t1","role":"gateway"}`},
		{"what the line says is not said twice", known,
			func(ctx context.Context, l *slog.Logger) { l.InfoContext(ctx, "m", "request_id", "mine") },
			`"msg":"m","node":"n1","request_id":"mine","trace_id":"t1","role":"gateway"}`},
		{"what the logger says is not said twice", known,
			func(ctx context.Context, l *slog.Logger) { l.With("role", "discovery").InfoContext(ctx, "m") },
			`"msg":"m","node":"n1","role":"discovery","request_id":"r1","trace_id":"t1"}`},
		{"facts stand outside of groups", known,
			func(ctx context.Context, l *slog.Logger) {
				l.With("a", 1).WithGroup("g").With("b", 2).InfoContext(ctx, "m", "role", "in the group")
			},
			`"msg":"m","node":"n1","a":1,"request_id":"r1","trace_id":"t1","role":"gateway","g":{"b":2,"role":"in the group"}}`},
		{"a client's own id of several requests is added", logattr.NewContext(known, logattr.Facts{Correlation: "order-7"}),
			func(ctx context.Context, l *slog.Logger) { l.InfoContext(ctx, "m") },
			`"msg":"m","node":"n1","request_id":"r1","trace_id":"t1","role":"gateway","correlation_id":"order-7"}`},
		{"later facts join earlier ones", logattr.NewContext(known, logattr.Facts{Role: "health"}),
			func(ctx context.Context, l *slog.Logger) { l.InfoContext(ctx, "m") },
			`"msg":"m","node":"n1","request_id":"r1","trace_id":"t1","role":"health"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			tt.log(tt.ctx, slog.New(logattr.New(slog.NewJSONHandler(&b, nil), "n1")))
			if got := strings.TrimSpace(b.String()); !strings.HasSuffix(got, tt.want) {
				t.Errorf("got  %s\nwant …%s", got, tt.want)
			}
		})
	}
}

func TestTheHandlerKeepsTheContractOfHandlers(t *testing.T) {
	var b bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		b.Reset()
		return logattr.New(slog.NewJSONHandler(&b, nil), "")
	}, func(t *testing.T) map[string]any {
		t.Helper()
		m := map[string]any{}
		if err := json.Unmarshal(b.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		return m
	})
}
