package gateway_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/role/gateway"
	"github.com/toska-mesh/toska-mesh/internal/signal/accesslog"
	"github.com/toska-mesh/toska-mesh/internal/signal/series"
	"github.com/toska-mesh/toska-mesh/internal/signal/span"
	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"

// ended is an exchange of the service orders that went well.
func ended(flags string) *exchange.Exchange {
	x := &exchange.Exchange{}
	at := time.Unix(1_800_000_000, 0)
	trace, traced := exchange.ParseTrace([]byte(parent + flags))
	x.Request = exchange.Request{
		Method: []byte("GET"), Path: []byte("/api/orders/1"), Host: []byte("h"), Scheme: "http", Minor: 1,
		Client: netip.MustParseAddrPort("10.0.0.1:999"), Received: at, ID: []byte("r1"), Trace: trace.Child(), Traced: traced,
		Fields: exchange.Fields{{Name: []byte("x-correlation-id"), Value: []byte(`c"1`)}, {Name: []byte("User-Agent"), Value: []byte("ua")}},
	}
	x.Record = exchange.Record{
		Status: 200, Service: "orders", Endpoint: "10.0.0.7:80", Attempts: 1,
		FirstByte: at.Add(20 * time.Millisecond), Done: at.Add(30 * time.Millisecond), BytesIn: 1, BytesOut: 2,
	}
	return x
}

type spans []span.Span

func (s *spans) Record(sp span.Span) { *s = append(*s, sp) }

// serve stands for the gateway's handler.
type serve func(*exchange.Exchange)

func (f serve) ServeExchange(_ context.Context, x *exchange.Exchange) { f(x) }

// metrics flattens what the set tells of a family.
func metrics(t *testing.T, s *series.Set, name string) map[string]float64 {
	t.Helper()
	families, err := s.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() != name {
				continue
			}
			var labels []string
			for _, l := range m.GetLabel() {
				if !strings.HasPrefix(l.GetName(), "service") {
					labels = append(labels, l.GetValue())
				}
			}
			v := m.GetGauge().GetValue() + m.GetCounter().GetValue()
			if h := m.GetHistogram(); h != nil {
				v = h.GetSampleSum()
			}
			out[strings.Join(labels, " ")] = v
		}
	}
	return out
}

func TestOneExchangeIsToldToAllSignals(t *testing.T) {
	var out strings.Builder
	var recorded spans
	set := series.New(series.Config{})
	log := accesslog.New(&out)
	o := gateway.NewObserver(gateway.Signals{
		AccessLog: log, Series: set.Exchanges, Spans: &recorded, Sampler: span.NewSampler(0),
	}, "/api/")
	x := ended("01")
	o.Routed(x)
	if n := metrics(t, set, "http_server_active_requests"); n["/api/{service}"] != 1 {
		t.Errorf("active %v, want 1 of the prefix", n)
	}
	o.Observe(x)
	if n := metrics(t, set, "http_server_active_requests"); n["/api/{service}"] != 0 {
		t.Errorf("active %v, want 0", n)
	}
	want := map[string]float64{"GET 200 /api/{service} 1.1 http": 0.03}
	if diff := cmp.Diff(want, metrics(t, set, "http_server_request_duration_seconds")); diff != "" {
		t.Errorf("durations (-want +got):\n%s", diff)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := log.Run(ctx); err != nil {
		t.Fatal(err)
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(out.String()), &line); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	if line["correlation_id"] != `c"1` || line["request_id"] != "r1" || line["trace_id"] != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("line %v", line)
	}

	if len(recorded) != 1 {
		t.Fatalf("%d spans, want 1", len(recorded))
	}
	got := recorded[0]
	if got.Parent != [8]byte{0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31} || got.ID == got.Parent || got.ID != x.Request.Trace.Span() {
		t.Errorf("span %x under %x, want a new one under the caller's", got.ID, got.Parent)
	}
	got.Parent, got.ID = [8]byte{}, [8]byte{}
	if diff := cmp.Diff(span.Span{
		Trace: x.Request.Trace.ID(), Name: "GET /api/{service}", Start: x.Request.Received, End: x.Record.Done,
		Method: "GET", Path: "/api/orders/1", Scheme: "http", Version: "1.1", Route: "/api/{service}", Service: "orders",
		Endpoint: "10.0.0.7:80", StatusCode: 200, Attempts: 1, RequestID: "r1", Client: "10.0.0.1", BytesIn: 1, BytesOut: 2,
	}, got); diff != "" {
		t.Errorf("span (-want +got):\n%s", diff)
	}
}

func TestHowAnExchangeEndedDecidesHowItIsCounted(t *testing.T) {
	for _, tt := range []struct {
		name     string
		change   func(*exchange.Exchange)
		duration map[string]float64
		failures map[string]float64
	}{
		{"a service that fails by itself is no failure of the gateway",
			func(x *exchange.Exchange) { x.Record.Status = 500 },
			map[string]float64{"GET 500 /api/{service} 1.1 http": 0.03}, map[string]float64{}},
		{"a broken endpoint is a failure", func(x *exchange.Exchange) { x.Record.Status, x.Record.Code = 502, "TOSKA-UP-RESET" },
			map[string]float64{"GET 502 /api/{service} 1.1 http": 0.03}, map[string]float64{"TOSKA-UP-RESET": 1}},
		{"an answer that was cut is a failure", func(x *exchange.Exchange) { x.Record.Code = "TOSKA-UP-CUT" },
			map[string]float64{"GET 200 /api/{service} 1.1 http": 0.03}, map[string]float64{"TOSKA-UP-CUT": 1}},
		{"a client that left is none", func(x *exchange.Exchange) {
			x.Record.Status, x.Record.Code, x.Record.ClientGone = 0, "TOSKA-CLIENT-GONE", true
		}, map[string]float64{"GET 499 /api/{service} 1.1 http": 0.03}, map[string]float64{}},
		{"a client's fault is none", func(x *exchange.Exchange) { x.Record.Status, x.Record.Code = 408, "TOSKA-REQ-TIMEOUT" },
			map[string]float64{"GET 408 /api/{service} 1.1 http": 0.03}, map[string]float64{}},
		{"what no service was asked for is the gateway's", func(x *exchange.Exchange) {
			x.Record.Service, x.Record.Status, x.Record.Code = "", 404, "TOSKA-ROUTE-NONE"
		}, map[string]float64{"GET 404  1.1 http": 0.03}, map[string]float64{}},
		{"a tunnel counts until it began", func(x *exchange.Exchange) { x.Record.Status, x.Record.Upgraded = 101, true },
			map[string]float64{"GET 101 /api/{service} 1.1 http": 0.02}, map[string]float64{}},
		{"a configured route goes by its name", func(x *exchange.Exchange) { x.Record.Route, x.Request.Minor = "shop", 0 },
			map[string]float64{"GET 200 shop 1.0 http": 0.03}, map[string]float64{}},
		{"a method that a client made up has no name", func(x *exchange.Exchange) { x.Request.Method = []byte("EVIL") },
			map[string]float64{"other 200 /api/{service} 1.1 http": 0.03}, map[string]float64{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := series.New(series.Config{})
			o := gateway.NewObserver(gateway.Signals{Series: set.Exchanges}, "/api/")
			x := ended("00")
			tt.change(x)
			o.Observe(x)
			if diff := cmp.Diff(tt.duration, metrics(t, set, "http_server_request_duration_seconds")); diff != "" {
				t.Errorf("durations (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.failures, metrics(t, set, "gateway_proxy_failures_total")); diff != "" {
				t.Errorf("failures (-want +got):\n%s", diff)
			}
			if n := metrics(t, set, "gateway_proxy_inflight")[""]; n != 0 {
				t.Errorf("%v in flight after the end", n)
			}
		})
	}
}

func TestWhoComesBehindIsToldWhetherTheTraceIsSampled(t *testing.T) {
	for _, tt := range []struct {
		name    string
		ratio   float64
		flags   string // of the caller; empty for none
		want    string // the end of what is passed on
		records int
	}{
		{"a trace that begins here is sampled by the ratio", 1, "", "-01", 1},
		{"or not", 0, "", "-00", 0},
		{"the caller's word is kept", 0, "01", "-01", 1},
		{"whatever it is", 1, "00", "-00", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var recorded spans
			o := gateway.NewObserver(gateway.Signals{Spans: &recorded, Sampler: span.NewSampler(tt.ratio)}, "/api/")
			x := ended(tt.flags)
			if tt.flags == "" {
				x.Request.Trace, x.Request.Traced = exchange.NewTrace(), false
			}
			var passed string
			o.Before(serve(func(x *exchange.Exchange) {
				passed = string(x.Request.Trace.AppendParent(nil))
			})).ServeExchange(t.Context(), x)
			o.Observe(x)
			if !strings.HasSuffix(passed, tt.want) || len(recorded) != tt.records {
				t.Errorf("passed on %s, %d spans, want %s and %d", passed, len(recorded), tt.want, tt.records)
			}
		})
	}
	o := gateway.NewObserver(gateway.Signals{Sampler: span.NewSampler(0)}, "/api/")
	x := ended("01")
	o.Before(serve(func(*exchange.Exchange) {})).ServeExchange(t.Context(), x)
	if !x.Request.Trace.Sampled() {
		t.Error("without a recorder the caller's flag was changed")
	}
}

// all is an observer with every signal, whose log is written by nobody but kept empty by a reader.
func all(tb testing.TB) *gateway.Observer {
	tb.Helper()
	var recorded spans
	log := accesslog.New(discard{})
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- log.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return gateway.NewObserver(gateway.Signals{
		AccessLog: log, Series: series.New(series.Config{}).Exchanges, Spans: &recorded, Sampler: span.NewSampler(0),
	}, "/api/")
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func TestObservingAllocatesNothing(t *testing.T) {
	o, x := all(t), ended("00")
	h := o.Before(serve(o.Routed))
	run := func() {
		h.ServeExchange(t.Context(), x)
		o.Observe(x)
	}
	for range 2000 {
		run() // the log's buffers grow to their size
	}
	if n := testing.AllocsPerRun(1000, run); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	o, x := all(b), ended("00")
	h := o.Before(serve(o.Routed))
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeExchange(ctx, x)
		o.Observe(x)
	}
}
