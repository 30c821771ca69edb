package httpapi_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/signal/logattr"
	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
)

// answered keeps what an exchange was answered with.
type answered struct {
	exchange.Answer
	head exchange.Head
	body bytes.Buffer
}

func (a *answered) Start(h *exchange.Head) error                   { a.head = *h; return nil }
func (a *answered) Write(p []byte, _ bool) error                   { a.body.Write(p); return nil }
func (a *answered) End(exchange.Fields) error                      { return nil }
func (a *answered) Tunnel(*exchange.Head) (exchange.Tunnel, error) { return nil, nil }

// What the gateway's own paths answer and log has the id under which the access log has the exchange.
func TestAnExchangeHasOneIDInsideAndOutside(t *testing.T) {
	var logged bytes.Buffer
	log := slog.New(logattr.New(slog.NewJSONHandler(&logged, nil), "n1"))
	mux := http.NewServeMux()
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("secret") })
	h := httpapi.NewExchangeHandler(httpapi.Handler(mux, loopback(), tokens{}, log), loopback())
	for _, row := range []struct {
		name, path, id, origin string
		status                 int
		logs                   bool
	}{
		{"a problem", "/nothing", "made-here", "", 404, false},
		{"a problem of another site", "/nothing", "made-here", "http://evil.example", 403, false},
		{"an id that only the gateway takes", "/nothing", "a!b", "", 404, false},
		{"a panic", "/panic", "made-here", "", 500, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			logged.Reset()
			a := &answered{}
			x := &exchange.Exchange{Answer: a, Request: exchange.Request{Method: []byte("GET"), Path: []byte(row.path), Host: []byte("127.0.0.1:5000"), ID: []byte(row.id), Trace: exchange.NewTrace()}}
			if row.origin != "" {
				x.Request.Fields = exchange.Fields{{Name: []byte("Origin"), Value: []byte(row.origin)}, {Name: []byte("Sec-Fetch-Site"), Value: []byte("cross-site")}}
			}
			h.ServeExchange(t.Context(), x)
			var p struct {
				RequestID string `json:"request_id"`
			}
			if err := json.Unmarshal(a.body.Bytes(), &p); err != nil || a.head.Status != row.status {
				t.Fatalf("%d: %v in %s", a.head.Status, err, a.body.String())
			}
			if p.RequestID != row.id || string(a.head.Fields.Get("X-Request-Id")) != row.id {
				t.Errorf("the problem has the id %q, the answer %q; want %q", p.RequestID, a.head.Fields.Get("X-Request-Id"), row.id)
			}
			if row.logs {
				var line map[string]any
				if err := json.Unmarshal(logged.Bytes(), &line); err != nil || line["request_id"] != row.id || line["trace_id"] != string(x.Request.Trace.AppendID(nil)) {
					t.Errorf("logged %v: %v", line, err)
				}
			}
		})
	}
}
