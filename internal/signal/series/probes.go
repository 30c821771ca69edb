package series

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/toska-mesh/toska-mesh/internal/signal/probe"
)

// Probes is the state of the probes of a node at one moment.
type Probes struct {
	// Counts of all probes since the node started.
	Counts probe.Counts
	// Targets are the instances that are probed, Failing those whose probes say failing.
	Targets, Failing int
	// OldestDue is for how long the probe has been due that has waited longest.
	OldestDue time.Duration
}

// Probes adds the series of probes. state is asked once for each scrape.
func (s *Set) Probes(state func() Probes) { s.own.MustRegister(probeCollector{state}) }

type probeCollector struct{ state func() Probes }

var (
	descProbes = prometheus.NewDesc("toska_probes_total", "Probes that ended, by their kind and result.",
		[]string{"kind", "result"}, nil)
	descLateness = prometheus.NewDesc("toska_probe_lateness_seconds", "Time between when a probe was due and when it began.", nil, nil)
	descTargets  = prometheus.NewDesc("toska_probe_targets", "Instances that this node probes.", nil, nil)
	descOldest   = prometheus.NewDesc("toska_probe_oldest_due_seconds", "Time since the probe was due that has waited longest for its turn; 0 if none waits.", nil, nil)
	descFailing  = prometheus.NewDesc("toska_probe_failing", "Instances whose probes by this node say failing.", nil, nil)
)

// Describe implements prometheus.Collector.
func (probeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descProbes, descLateness, descTargets, descFailing, descOldest} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c probeCollector) Collect(ch chan<- prometheus.Metric) {
	st := c.state()
	n := &st.Counts
	ch <- counter(descProbes, n.HTTPPassed, "http", "passed")
	ch <- counter(descProbes, n.HTTPFailed, "http", "failed")
	ch <- counter(descProbes, n.TCPPassed, "tcp", "passed")
	ch <- counter(descProbes, n.TCPFailed, "tcp", "failed")
	ch <- gauge(descTargets, int64(st.Targets))
	ch <- gauge(descFailing, int64(st.Failing))
	ch <- prometheus.MustNewConstMetric(descOldest, prometheus.GaugeValue, st.OldestDue.Seconds())
	l := &n.Lateness
	buckets := make(map[float64]uint64, len(l.Bounds))
	for i, bound := range l.Bounds {
		buckets[bound.Seconds()] = l.Cumulative[i]
	}
	ch <- prometheus.MustNewConstHistogram(descLateness, l.Count, l.Sum.Seconds(), buckets)
}
