package series_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/signal/probe"
	"github.com/toska-mesh/toska-mesh/internal/signal/series"
)

func TestProbesByResultAndTheirLateness(t *testing.T) {
	s := series.New(series.Config{})
	s.Probes(func() series.Probes {
		return series.Probes{Targets: 9, Failing: 2, OldestDue: 1500 * time.Millisecond, Counts: probe.Counts{
			HTTPPassed: 1, HTTPFailed: 2, TCPPassed: 3, TCPFailed: 4,
			Lateness: probe.Lateness{Bounds: []time.Duration{time.Millisecond, time.Second}, Cumulative: []uint64{5, 9}, Count: 10, Sum: 4 * time.Second},
		}}
	})
	families := scrape(t, s)
	own := ",service=gateway,service_name=gateway"
	want := map[string]float64{"kind=http,result=passed" + own: 1, "kind=http,result=failed" + own: 2,
		"kind=tcp,result=passed" + own: 3, "kind=tcp,result=failed" + own: 4}
	if diff := cmp.Diff(want, values(families["toska_probes_total"])); diff != "" {
		t.Errorf("probes (-want +got):\n%s", diff)
	}
	for name, want := range map[string]float64{"toska_probe_targets": 9, "toska_probe_failing": 2, "toska_probe_oldest_due_seconds": 1.5, "toska_probe_lateness_seconds": 10} {
		if got := values(families[name])[own[1:]]; got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	h := families["toska_probe_lateness_seconds"].GetMetric()[0].GetHistogram()
	if h.GetSampleSum() != 4 || h.GetBucket()[1].GetUpperBound() != 1 || h.GetBucket()[1].GetCumulativeCount() != 9 {
		t.Errorf("lateness %v", h)
	}
}
