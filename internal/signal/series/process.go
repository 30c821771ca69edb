package series

import (
	"runtime/metrics"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// descWorkingSet has the family's name for the memory of a process: its rules and panels ask for it.
var descWorkingSet = prometheus.NewDesc("process_working_set_bytes",
	"Memory of the process that is resident, in bytes.", nil, nil)

// process tells what the library knows of the process, and the memory once more under the family's
// name.
type process struct{ inner *prometheus.Registry }

func newProcess() process {
	p := process{prometheus.NewRegistry()}
	p.inner.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return p
}

// Describe implements prometheus.Collector: what there is differs from system to system.
func (process) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (p process) Collect(ch chan<- prometheus.Metric) {
	// What could not be read is left out.
	families, _ := p.inner.Gather()
	resident := -1.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			kind, value := prometheus.GaugeValue, m.GetGauge().GetValue()
			if m.GetCounter() != nil {
				kind, value = prometheus.CounterValue, m.GetCounter().GetValue()
			}
			if f.GetName() == "process_resident_memory_bytes" {
				resident = value
			}
			ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(f.GetName(), f.GetHelp(), nil, nil), kind, value)
		}
	}
	if resident < 0 {
		resident = held()
	}
	ch <- prometheus.MustNewConstMetric(descWorkingSet, prometheus.GaugeValue, resident)
}

// held is what the runtime has taken from the system and not given back, for systems that do not tell
// what is resident.
func held() float64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return float64(s[0].Value.Uint64() - s[1].Value.Uint64())
}
