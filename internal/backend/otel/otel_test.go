package otel_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/toska-mesh/toska-mesh/internal/backend/otel"
	"github.com/toska-mesh/toska-mesh/internal/signal/span"
)

// receiver is an OTLP receiver that speaks both protocols.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	grpc, http string // addresses

	mu     sync.Mutex
	spans  []*trace.Span // guarded by mu
	node   []*common.KeyValue
	scope  string
	header string // what x-key said
	fail   error
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.grpc = ln.Addr().String()
	srv := grpc.NewServer()
	collector.RegisterTraceServiceServer(srv, r)
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() { srv.Stop(); serving.Wait() })
	web := httptest.NewServer(r)
	t.Cleanup(web.Close)
	r.http = web.Listener.Addr().String()
	return r
}

func (r *receiver) take(req *collector.ExportTraceServiceRequest, header string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.header = header
	for _, rs := range req.GetResourceSpans() {
		r.node = rs.GetResource().GetAttributes()
		for _, ss := range rs.GetScopeSpans() {
			r.scope = ss.GetScope().GetName()
			r.spans = append(r.spans, ss.GetSpans()...)
		}
	}
	return nil
}

// Export implements the gRPC service.
func (r *receiver) Export(ctx context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	return &collector.ExportTraceServiceResponse{}, r.take(req, strings.Join(md.Get("x-key"), ","))
}

// ServeHTTP implements the same over HTTP.
func (r *receiver) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	body, err := io.ReadAll(hr.Body)
	var req collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &req)
	}
	if hr.URL.Path != "/v1/traces" || err != nil {
		http.Error(w, fmt.Sprint(hr.URL.Path, err), http.StatusNotFound)
		return
	}
	if err := r.take(&req, hr.Header.Get("x-key")); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func (r *receiver) received() []*trace.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spans
}

func texts(attrs []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range attrs {
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			out[a.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			out[a.GetKey()] = fmt.Sprint(v.IntValue)
		}
	}
	return out
}

func plan(t *testing.T, cfg otel.Config, env map[string]string) otel.Plan {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	for k, v := range env {
		t.Setenv(k, v) // the library reads the process's own
	}
	p, err := otel.Resolve(cfg, func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// export records spans with a running exporter and ends it: what waits is sent then.
func export(t *testing.T, e *otel.Exporter, spans ...span.Span) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- e.Run(ctx, func() { close(ready) }) }()
	<-ready
	for _, s := range spans {
		e.Record(s)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

var start = time.Unix(1_800_000_000, 0)

func sample() span.Span {
	return span.Span{
		Trace: [16]byte{1, 2, 3}, ID: [8]byte{4}, Parent: [8]byte{5}, Name: "GET /api/{service}", Kind: span.Server,
		Start: start, End: start.Add(30 * time.Millisecond), Status: span.Error,
		Method: "GET", Path: "/api/orders/\xff", Scheme: "http", Version: "1.1", Route: "/api/{service}",
		Service: "orders", Endpoint: "10.0.0.7:80", StatusCode: 502, Code: "TOSKA-UP-RESET", Reason: "closed",
		Attempts: 2, RequestID: "r1", Client: "10.0.0.1", BytesIn: 3, BytesOut: 4,
	}
}

var node = otel.Node{Service: "gateway", ID: "n1", Version: "1.2.3"}

func TestSpansReachAReceiverWithTheIdsThatTheyHave(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	for _, tt := range []struct {
		name string
		cfg  func(r *receiver) otel.Config
		env  func(r *receiver) map[string]string
		key  string
		as   string
	}{
		{"over gRPC", func(r *receiver) otel.Config {
			return otel.Config{Endpoint: r.grpc, Insecure: true, Headers: map[string]string{"x-key": "file"}}
		}, nil, "file", "gateway"},
		{"over gRPC by a URL", func(r *receiver) otel.Config { return otel.Config{Endpoint: "http://" + r.grpc} }, nil, "", "gateway"},
		{"over HTTP", func(r *receiver) otel.Config {
			return otel.Config{Endpoint: r.http, Protocol: otel.HTTP, Insecure: true, Headers: map[string]string{"x-key": "file"}}
		}, nil, "file", "gateway"},
		{"over HTTP by a URL without a path", func(r *receiver) otel.Config {
			return otel.Config{Endpoint: "http://" + r.http, Protocol: otel.HTTP}
		}, nil, "", "gateway"},
		{"by the environment, which wins", func(*receiver) otel.Config {
			return otel.Config{Endpoint: "192.0.2.1:1", Headers: map[string]string{"x-key": "file"}}
		}, func(r *receiver) map[string]string {
			return map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + r.http, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
				"OTEL_EXPORTER_OTLP_HEADERS": "x-key=environment", "OTEL_SERVICE_NAME": "shop-gateway",
			}
		}, "environment", "shop-gateway"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newReceiver(t)
			var env map[string]string
			if tt.env != nil {
				env = tt.env(r)
			}
			e := otel.New(plan(t, tt.cfg(r), env), node, quiet)
			export(t, e, sample(), span.Span{Trace: [16]byte{9}, ID: [8]byte{9}, Name: "root", Start: start, End: start})

			got := r.received()
			if len(got) != 2 || e.Sent() != 2 || e.Dropped() != 0 {
				t.Fatalf("%d spans arrived, %d sent, %d dropped, want 2, 2, 0", len(got), e.Sent(), e.Dropped())
			}
			s := got[0]
			ids := []string{hex.EncodeToString(s.GetTraceId()), hex.EncodeToString(s.GetSpanId()), hex.EncodeToString(s.GetParentSpanId()),
				hex.EncodeToString(got[1].GetParentSpanId())}
			want := []string{"01020300000000000000000000000000", "0400000000000000", "0500000000000000", ""}
			if diff := cmp.Diff(want, ids); diff != "" {
				t.Errorf("ids (-want +got):\n%s", diff)
			}
			if s.GetName() != "GET /api/{service}" || s.GetKind() != trace.Span_SPAN_KIND_SERVER ||
				s.GetStatus().GetCode() != trace.Status_STATUS_CODE_ERROR || s.GetStatus().GetMessage() != "closed" ||
				s.GetEndTimeUnixNano()-s.GetStartTimeUnixNano() != uint64(30*time.Millisecond) {
				t.Errorf("span %v", s)
			}
			if diff := cmp.Diff(map[string]string{
				"http.request.method": "GET", "url.path": "/api/orders/\uFFFD", "url.scheme": "http", "http.route": "/api/{service}",
				"network.protocol.version": "1.1", "client.address": "10.0.0.1", "error.type": "TOSKA-UP-RESET",
				"toska.service": "orders", "toska.endpoint": "10.0.0.7:80", "toska.request_id": "r1", "toska.attempts": "2",
				"http.response.status_code": "502", "http.request.body.size": "3", "http.response.body.size": "4",
			}, texts(s.GetAttributes())); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
			about := texts(r.node)
			if about["service.name"] != tt.as || about["service.instance.id"] != "n1" || about["service.version"] != "1.2.3" {
				t.Errorf("resource %v, want service.name %s", about, tt.as)
			}
			if r.header != tt.key || r.scope != "ToskaMesh.Gateway" {
				t.Errorf("header %q, scope %q, want %q, ToskaMesh.Gateway", r.header, r.scope, tt.key)
			}
		})
	}
}

func TestAReceiverThatRefusesCostsSpansAndOneLine(t *testing.T) {
	r := newReceiver(t)
	r.fail = errors.New("full")
	var logged strings.Builder
	e := otel.New(plan(t, otel.Config{Endpoint: "http://" + r.http, Protocol: otel.HTTP}, nil), node,
		slog.New(slog.NewTextHandler(&logged, nil)))
	spans := make([]span.Span, 1200) // three batches
	for i := range spans {
		spans[i] = sample()
	}
	export(t, e, spans...)
	if e.Dropped() != 1200 || e.Sent() != 0 {
		t.Errorf("%d dropped, %d sent, want 1200 and 0", e.Dropped(), e.Sent())
	}
	if n := strings.Count(logged.String(), "spans cannot be sent"); n != 1 {
		t.Errorf("%d lines, want 1:\n%s", n, logged.String())
	}
	r.mu.Lock()
	r.fail = nil
	r.mu.Unlock()
	export(t, e, sample())
	if e.Sent() != 1 {
		t.Errorf("%d sent by the next run, want 1", e.Sent())
	}
}

func TestAReceiverThatIsAwayHoldsNothingUpForLong(t *testing.T) {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // accepts nobody
	e := otel.New(plan(t, otel.Config{Endpoint: ln.Addr().String(), Insecure: true}, nil), node, slog.New(slog.DiscardHandler))
	began := time.Now()
	for range 5000 {
		e.Record(sample())
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("recording took %v", took)
	}
	if e.Dropped() != 5000-4096 {
		t.Errorf("%d dropped, want what is over the queue", e.Dropped())
	}
	began = time.Now()
	export(t, e)
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("ending took %v", took)
	}
	if e.Dropped() != 5000 {
		t.Errorf("%d dropped, want 5000", e.Dropped())
	}
}

func TestTheEnvironmentDecidesWhetherAndHowMuch(t *testing.T) {
	half := 0.5
	file := otel.Config{Endpoint: "collector:4317", Ratio: &half}
	high := [16]byte{8: 0xff}
	for _, tt := range []struct {
		name    string
		cfg     otel.Config
		env     map[string]string
		enabled bool
		samples bool // a trace of the upper half that begins here
	}{
		{"nothing configured is nothing sent", otel.Config{}, nil, false, false},
		{"the file alone", file, nil, true, false},
		{"the environment alone", otel.Config{}, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4317"}, true, true},
		{"the environment's ratio wins", file, map[string]string{"OTEL_TRACES_SAMPLER_ARG": "1"}, true, true},
		{"the environment's sampler wins", file, map[string]string{"OTEL_TRACES_SAMPLER": "always_on"}, true, true},
		{"switched off", file, map[string]string{"OTEL_SDK_DISABLED": "true"}, false, false},
		{"no traces", file, map[string]string{"OTEL_TRACES_EXPORTER": "none"}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := otel.Resolve(tt.cfg, func(k string) string { return tt.env[k] })
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Sampler.Sample(high, false, false); p.Enabled != tt.enabled || got != tt.samples {
				t.Errorf("enabled %v, samples %v, want %v, %v", p.Enabled, got, tt.enabled, tt.samples)
			}
		})
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	two := 2.0
	cfg := otel.Config{Endpoint: "ftp://c", Protocol: "carrier-pigeon", Ratio: &two, Headers: map[string]string{"a b": "c"}}
	err := cfg.Validate()
	for _, want := range []string{"otlp.endpoint", "otlp.protocol", "otlp.ratio", "otlp.headers"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_TRACES_SAMPLER": "jaeger",
	} {
		_, err := otel.Resolve(otel.Config{Endpoint: "c:1"}, func(k string) string { return map[string]string{name: value}[k] })
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
}
