package series_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/toska-mesh/toska-mesh/internal/signal/series"
)

// scrape gathers, writes the exposition and reads it back, as a scraper would.
func scrape(tb testing.TB, s *series.Set) map[string]*dto.MetricFamily {
	tb.Helper()
	families, err := s.Gatherer().Gather()
	if err != nil {
		tb.Fatalf("gather: %v", err)
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			tb.Fatalf("write %s: %v", f.GetName(), err)
		}
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	out, err := parser.TextToMetricFamilies(&b)
	if err != nil {
		tb.Fatalf("the exposition cannot be read: %v", err)
	}
	return out
}

// values flattens a family to "label=value,…" and a number: the count for a histogram.
func values(f *dto.MetricFamily) map[string]float64 {
	out := map[string]float64{}
	for _, m := range f.GetMetric() {
		var labels []string
		for _, l := range m.GetLabel() {
			labels = append(labels, l.GetName()+"="+l.GetValue())
		}
		v := m.GetGauge().GetValue() + m.GetCounter().GetValue()
		if h := m.GetHistogram(); h != nil {
			v = float64(h.GetSampleCount())
		}
		out[strings.Join(labels, ",")] = v
	}
	return out
}

func count(f *dto.MetricFamily) int { return len(f.GetMetric()) }

func get(status int) *series.Outcome {
	return &series.Outcome{Method: []byte("GET"), Status: status, Version: series.HTTP11,
		Duration: 30 * time.Millisecond, Endpoint: "10.0.0.7:8080"}
}

func TestAnExchangeHasTheNamesAndLabelsOfTheFamily(t *testing.T) {
	s := series.New(series.Config{})
	s.Exchanges.Begin("orders", "/api/{service}").End(get(200))
	failed := get(502)
	failed.Failure = "TOSKA-UP-RESET"
	s.Exchanges.Begin("orders", "/api/{service}").End(failed)
	s.Exchanges.Begin("orders", "shop") // is still under way
	s.Exchanges.Own(&series.Outcome{Method: []byte("GET"), Status: 404, Version: series.HTTP10, Secure: true})
	got := scrape(t, s)
	duration := func(status, route, scheme, version, service string) string {
		return "http_request_method=GET,http_response_status_code=" + status + ",http_route=" + route +
			",network_protocol_version=" + version + ",service=" + service + ",service_name=" + service + ",url_scheme=" + scheme
	}
	const gateway = "service=gateway,service_name=gateway"
	for name, want := range map[string]map[string]float64{
		"http_server_request_duration_seconds": {
			duration("200", "/api/{service}", "http", "1.1", "orders"): 1,
			duration("502", "/api/{service}", "http", "1.1", "orders"): 1,
			duration("404", "", "https", "1.0", "gateway"):             1,
		},
		"http_server_active_requests": {
			"http_route=/api/{service},service=orders,service_name=orders": 0,
			"http_route=shop,service=orders,service_name=orders":           1,
		},
		"gateway_proxy_inflight":       {gateway: 1},
		"gateway_proxy_requests_total": {"destination=10.0.0.7:8080," + gateway: 2},
		"gateway_proxy_routed_requests_total": {
			"cluster_id=orders,destination=10.0.0.7:8080,route_id=/api/{service}," + gateway: 2},
		"gateway_proxy_failures_total": {"error=TOSKA-UP-RESET," + gateway: 1},
		"toska_series_folded_total":    {gateway: 0},
	} {
		if diff := cmp.Diff(want, values(got[name])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	h := got["http_server_request_duration_seconds"].GetMetric()[0].GetHistogram()
	if sum := h.GetSampleSum(); sum != 0.03 {
		t.Errorf("sum %v, want 0.03", sum)
	}
}

func TestEverySeriesSaysWhoseItIs(t *testing.T) {
	s := series.New(series.Config{Version: "1.2.3"})
	s.Exchanges.Begin("orders", "r").End(get(200))
	s.Registry(func() series.Registry {
		return series.Registry{Services: 2, Instances: 5, Sessions: 3, Commits: 42, Stale: true}
	})
	s.Gauge("toska_something", "Something.", func() float64 { return 7 })
	s.Counter("toska_something_total", "Something.", func() float64 { return 8 })
	got := scrape(t, s)
	for name, f := range got {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["service"] == "" || labels["service"] != labels["service_name"] {
				t.Errorf("%s: service %q, service_name %q", name, labels["service"], labels["service_name"])
			}
		}
	}
	for name, want := range map[string]float64{
		"toska_registry_services": 2, "toska_registry_instances": 5, "toska_registry_sessions": 3,
		"toska_registry_stale": 1, "toska_store_commits_total": 42, "toska_something": 7, "toska_something_total": 8,
	} {
		if v := values(got[name])["service=gateway,service_name=gateway"]; v != want {
			t.Errorf("%s = %v, want %v", name, v, want)
		}
	}
	for _, name := range []string{"process_working_set_bytes", "go_goroutines", "toska_build_info"} {
		if count(got[name]) != 1 {
			t.Errorf("%s has %d series, want 1", name, count(got[name]))
		}
	}
	if v := values(got["process_working_set_bytes"])["service=gateway,service_name=gateway"]; v < 1<<20 {
		t.Errorf("the working set is %v bytes", v)
	}
}

func TestTenThousandServicesStayWithinTheBounds(t *testing.T) {
	s := series.New(series.Config{})
	for i := range 10_000 {
		o := get(200)
		o.Endpoint = fmt.Sprintf("10.%d.%d.%d:80", i>>16, i>>8&255, i&255)
		for range 2 {
			s.Exchanges.Begin(fmt.Sprintf("service-%d", i), "/api/{service}").End(o)
		}
	}
	got := scrape(t, s)
	for name, most := range map[string]int{
		"http_server_request_duration_seconds": 2001, "http_server_active_requests": 2001,
		"gateway_proxy_requests_total": 2001, "gateway_proxy_routed_requests_total": 2001,
	} {
		if n := count(got[name]); n != most {
			t.Errorf("%s has %d series, want %d", name, n, most)
		}
	}
	if n := got["toska_series_folded_total"].GetMetric()[0].GetCounter().GetValue(); n != 16_000 {
		t.Errorf("folded %v exchanges, want those of 8,000 services", n)
	}
	total := 0.0
	for _, v := range values(got["http_server_request_duration_seconds"]) {
		total += v
	}
	if total != 20_000 {
		t.Errorf("%v exchanges were counted, want every one of 20,000", total)
	}
	for labels, v := range values(got["gateway_proxy_requests_total"]) {
		if strings.Contains(labels, "destination=other") && v != 16_000 {
			t.Errorf("%s = %v, want 16000", labels, v)
		}
	}
}

func TestNoClientAndNoEndpointMakesSeriesWithoutEnd(t *testing.T) {
	s := series.New(series.Config{})
	for i := range 3000 {
		o := get(i % 1000)
		o.Method = fmt.Appendf(nil, "M%d", i)
		s.Exchanges.Begin("orders", "r").End(o)
		o.Method = []byte([]string{"GET", "PUT", "POST", "DELETE"}[i%4])
		s.Exchanges.Begin("orders", "r").End(o)
		s.Exchanges.Own(o)
		o.Failure = fmt.Sprintf("CODE-%d\xff", i)
		s.Exchanges.Own(o)
	}
	got := scrape(t, s)
	if n := count(got["http_server_request_duration_seconds"]); n > 2*(64+10) {
		t.Errorf("%d series, want at most 148", n)
	}
	if n := count(got["gateway_proxy_failures_total"]); n > 201 {
		t.Errorf("%d codes, want at most 201", n)
	}
	for labels := range values(got["http_server_request_duration_seconds"]) {
		if strings.Contains(labels, "http_request_method=M") {
			t.Errorf("a client's own method is a label: %s", labels)
		}
	}
}

func TestAServiceThatAnswersEverythingHasFewSeries(t *testing.T) {
	s := series.New(series.Config{})
	for status := 100; status < 600; status++ {
		for _, method := range []string{"GET", "PUT", "POST", "DELETE"} {
			o := get(status)
			o.Method = []byte(method)
			s.Exchanges.Begin("orders", "r").End(o)
		}
	}
	got := scrape(t, s)["http_server_request_duration_seconds"]
	classes := map[string]float64{}
	for labels, v := range values(got) {
		_, status, _ := strings.Cut(labels, "http_response_status_code=")
		classes[status[:1]] += v
	}
	if diff := cmp.Diff(map[string]float64{"1": 400, "2": 400, "3": 400, "4": 400, "5": 400}, classes); diff != "" {
		t.Errorf("exchanges by class (-want +got):\n%s", diff)
	}
	if n := count(got); n > 64+5 {
		t.Errorf("%d series, want at most 69", n)
	}
}

func TestAStatusThatNobodyKnowsCountsAsTheFirstOfItsClass(t *testing.T) {
	for status, want := range map[int]string{
		200: "200", 299: "200", 418: "418", 499: "499", 498: "400", 599: "500", 0: "500", 999: "500",
	} {
		s := series.New(series.Config{})
		s.Exchanges.Begin("orders", "r").End(get(status))
		for labels := range values(scrape(t, s)["http_server_request_duration_seconds"]) {
			if !strings.Contains(labels, "http_response_status_code="+want+",") {
				t.Errorf("%d is counted as %s, want %s", status, labels, want)
			}
		}
	}
}

func TestEndpointsBeyondTheBoundAreCountedTogether(t *testing.T) {
	s := series.New(series.Config{Destinations: 2})
	for i := range 5 {
		o := get(200)
		o.Endpoint = fmt.Sprintf("e%d", i)
		for range 2 {
			s.Exchanges.Begin("orders", "r").End(o)
		}
	}
	const gateway = ",service=gateway,service_name=gateway"
	want := map[string]float64{"destination=e0" + gateway: 2, "destination=e1" + gateway: 2, "destination=other" + gateway: 6}
	if diff := cmp.Diff(want, values(scrape(t, s)["gateway_proxy_requests_total"])); diff != "" {
		t.Errorf("destinations (-want +got):\n%s", diff)
	}
}

func TestDurationsBeyondTheBoundAreCountedTogether(t *testing.T) {
	s := series.New(series.Config{Children: 1})
	s.Exchanges.Begin("orders", "r").End(get(200))
	for range 3 {
		s.Exchanges.Begin("orders", "r").End(get(500))
	}
	got := scrape(t, s)
	var n float64
	for labels, v := range values(got["http_server_request_duration_seconds"]) {
		if strings.Contains(labels, "service=other") {
			n += v
		}
	}
	if folded := got["toska_series_folded_total"].GetMetric()[0].GetCounter().GetValue(); n != 3 || folded != 3 {
		t.Errorf("%v counted under other, %v folded, want 3 and 3", n, folded)
	}
}

func TestWhatHasGoneIsForgottenAndMakesRoom(t *testing.T) {
	s := series.New(series.Config{Services: 2, Children: 2, Destinations: 2})
	e := s.Exchanges
	e.Begin("orders", "r").End(get(200))
	other := get(200)
	other.Endpoint = "10.0.0.8:8080"
	e.Begin("orders", "r").End(other)
	under := e.Begin("stock", "r")

	e.Keep(func(service, endpoint string) bool { return service == "orders" && endpoint != "10.0.0.7:8080" })
	got := scrape(t, s)
	if n := count(got["http_server_active_requests"]); n != 2 {
		t.Errorf("%d services, want orders, and stock for which one is under way", n)
	}
	want := map[string]float64{"destination=10.0.0.8:8080,service=gateway,service_name=gateway": 1}
	if diff := cmp.Diff(want, values(got["gateway_proxy_requests_total"])); diff != "" {
		t.Errorf("destinations (-want +got):\n%s", diff)
	}

	under.End(get(200))
	e.Keep(func(string, string) bool { return false })
	got = scrape(t, s)
	for _, name := range []string{"http_server_active_requests", "http_server_request_duration_seconds", "gateway_proxy_requests_total"} {
		if n := count(got[name]); n != 0 {
			t.Errorf("%s has %d series of services that have gone", name, n)
		}
	}
	for _, service := range []string{"a", "b"} {
		e.Begin(service, "r").End(get(200))
	}
	got = scrape(t, s)
	if n := count(got["http_server_request_duration_seconds"]); n != 2 {
		t.Errorf("%d series, want 2: there is room again", n)
	}
}

func TestGaugesReturnToZeroWhateverComesAndGoes(t *testing.T) {
	s := series.New(series.Config{Services: 8, Children: 20, Destinations: 8})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 500 {
				tally := s.Exchanges.Begin(fmt.Sprintf("s%d", (i+w)%12), "r")
				o := get(200 + i%3)
				o.Endpoint = fmt.Sprintf("e%d", i%12)
				if i%7 == 0 {
					s.Exchanges.Keep(func(service, _ string) bool { return service != fmt.Sprintf("s%d", i%12) })
				}
				tally.End(o)
			}
		})
	}
	for range 20 {
		scrape(t, s)
	}
	wg.Wait()
	got := scrape(t, s)
	for _, name := range []string{"http_server_active_requests", "gateway_proxy_inflight"} {
		for labels, v := range values(got[name]) {
			if v != 0 {
				t.Errorf("%s{%s} = %v, want 0", name, labels, v)
			}
		}
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	s := series.New(series.Config{Services: 1, Children: 1, Destinations: 1})
	for _, tt := range []struct {
		name    string
		service string
		status  int
	}{
		{"a service with series of its own", "orders", 200},
		{"a status over the bound", "orders", 404},
		{"a service over the bound", "stock", 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := get(tt.status)
			run := func() { s.Exchanges.Begin(tt.service, "r").End(o) }
			run()
			if n := testing.AllocsPerRun(100, run); n != 0 {
				t.Errorf("%v allocations, want 0", n)
			}
		})
	}
}

func BenchmarkExchange(b *testing.B) {
	s := series.New(series.Config{})
	for i := range 500 {
		s.Exchanges.Begin(fmt.Sprintf("service-%d", i), "/api/{service}").End(get(200))
	}
	o := get(200)
	b.ReportAllocs()
	for b.Loop() {
		s.Exchanges.Begin("service-250", "/api/{service}").End(o)
	}
}
