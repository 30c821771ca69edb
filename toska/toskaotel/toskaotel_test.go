package toskaotel_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace/noop"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska/toskaotel"
)

// clean makes the test's environment say nothing of telemetry, and what is global what it was.
func clean(t *testing.T) {
	t.Helper()
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL",
		"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_SERVICE_NAME",
		"OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER", "TOSKA_OTLP_ENDPOINT"} {
		t.Setenv(name, "")
	}
	t.Cleanup(func() { otel.SetTracerProvider(noop.NewTracerProvider()) })
}

// receiver takes spans over HTTP, and keeps the last request.
func receiver(t *testing.T) (url string, got *atomic.Pointer[collector.ExportTraceServiceRequest]) {
	t.Helper()
	got = &atomic.Pointer[collector.ExportTraceServiceRequest]{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		req := &collector.ExportTraceServiceRequest{}
		if err := proto.Unmarshal(body, req); err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		got.Store(req)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	return s.URL, got
}

func TestSpansGoWhereTheEnvironmentSays(t *testing.T) {
	for _, tt := range []struct {
		name, variable, override, want string
	}{
		{"by OpenTelemetry's own variable", "OTEL_EXPORTER_OTLP_ENDPOINT", "", "orders"},
		{"by ours", "TOSKA_OTLP_ENDPOINT", "", "orders"},
		{"under the name that the environment has", "OTEL_EXPORTER_OTLP_ENDPOINT", "shop", "shop"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clean(t)
			url, got := receiver(t)
			t.Setenv(tt.variable, url)
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
			t.Setenv("OTEL_SERVICE_NAME", tt.override)
			shutdown, err := toskaotel.Setup(t.Context(), "orders")
			if err != nil {
				t.Fatal(err)
			}
			_, span := otel.Tracer("test").Start(t.Context(), "work")
			span.End()
			if err := shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			req := got.Load()
			if req == nil {
				t.Fatal("nothing arrived")
			}
			name := ""
			for _, a := range req.ResourceSpans[0].Resource.Attributes {
				if a.Key == "service.name" {
					name = a.Value.GetStringValue()
				}
			}
			if s := req.ResourceSpans[0].ScopeSpans[0].Spans[0].Name; s != "work" || name != tt.want {
				t.Errorf("span %q of service %q, want %q", s, name, tt.want)
			}
		})
	}
}

func TestNothingIsRecordedWithoutAReceiver(t *testing.T) {
	for _, tt := range []struct{ name, variable, value string }{
		{"none is named", "OTEL_SERVICE_NAME", "shop"},
		{"the SDK is disabled", "OTEL_SDK_DISABLED", "TRUE"},
		{"the exporter is none", "OTEL_TRACES_EXPORTER", "none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clean(t)
			if tt.variable != "OTEL_SERVICE_NAME" {
				t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
			}
			t.Setenv(tt.variable, tt.value)
			shutdown, err := toskaotel.Setup(t.Context(), "orders")
			if err != nil {
				t.Fatal(err)
			}
			_, span := otel.Tracer("test").Start(t.Context(), "work")
			if span.IsRecording() {
				t.Error("a span is recorded")
			}
			if err := shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAWrongEnvironmentIsNamed(t *testing.T) {
	for _, tt := range []struct{ name, variable, value, want string }{
		{"an endpoint that is no URL", "OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317", "OTEL_EXPORTER_OTLP_ENDPOINT"},
		{"a protocol that is not spoken", "OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "OTEL_EXPORTER_OTLP_PROTOCOL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clean(t)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
			t.Setenv(tt.variable, tt.value)
			shutdown, err := toskaotel.Setup(t.Context(), "orders")
			if !errors.Is(err, mesh.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v", err)
			}
			if err := shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
