package series_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/signal/series"
)

func TestTheSeriesOfEndpointsAreBounded(t *testing.T) {
	s := series.New(series.Config{Services: 2})
	s.Upstreams(func(f func(series.Upstream)) {
		f(series.Upstream{Service: "quiet"})
		f(series.Upstream{Service: series.Other, Ejections: 1, Retries: 10})
		f(series.Upstream{Service: "a", Ejected: 1, Ejections: 2, Retries: 3})
		f(series.Upstream{Service: "b", Retries: 4})
		f(series.Upstream{Service: "c", Ejected: 2, Ejections: 5, Retries: 6})
	})
	families, err := s.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			switch name := f.GetName(); name {
			case "toska_ejections_total", "toska_retries_total":
				got[fmt.Sprintf("%s %s %s", name, labels["service"], labels["service_name"])] = m.GetCounter().GetValue()
			case "toska_ejected_endpoints":
				got[fmt.Sprintf("%s %s %s", name, labels["service"], labels["service_name"])] = m.GetGauge().GetValue()
			}
		}
	}
	want := map[string]float64{
		"toska_ejections_total a a": 2, "toska_ejected_endpoints a a": 1, "toska_retries_total a a": 3,
		"toska_ejections_total other other": 6, "toska_ejected_endpoints other other": 2, "toska_retries_total other other": 20,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
}
