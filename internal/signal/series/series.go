// Package series holds the series of one node, and counts exchanges into them.
//
// # Concurrency
//
// A Set is put together once and read after that. Exchanges counts without a lock: the maps that it
// looks into are never modified, a new one takes the place of the old when a series is added.
package series

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

const (
	// labelService and labelServiceName are on every series, with the same value: panels of the family
	// ask for either.
	labelService     = "service"
	labelServiceName = "service_name"
	// Self is the service that a node's own series are of, and that answers what no service was asked for.
	Self = "gateway"
	// Other stands for whatever has no series of its own.
	Other = "other"
)

// Config bounds a Set. Zero fields take their defaults.
type Config struct {
	// Version of this program.
	Version string
	// Services is how many pairs of service and route have series of their own; default 2,000.
	Services int
	// Children is how many combinations of labels the durations have; default 2,000. Each has a line
	// for every bucket.
	Children int
	// Destinations is how many endpoints have a counter of their own; default 2,000.
	Destinations int
}

// Set is all series of a node.
type Set struct {
	registry *prometheus.Registry
	own      prometheus.Registerer
	// Exchanges counts what the gateway serves.
	Exchanges *Exchanges
}

// New returns a set with the series of the process, of the runtime and of exchanges.
func New(cfg Config) *Set {
	s := &Set{registry: prometheus.NewRegistry(), Exchanges: newExchanges(cfg)}
	s.own = prometheus.WrapRegistererWith(prometheus.Labels{labelService: Self, labelServiceName: Self}, s.registry)
	s.registry.MustRegister(s.Exchanges)
	s.own.MustRegister(collectors.NewGoCollector(), newProcess())
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "toska_build_info", Help: "Version of the node; the value is always 1.",
		ConstLabels: prometheus.Labels{"version": cfg.Version, "go_version": runtime.Version()},
	})
	build.Set(1)
	s.own.MustRegister(build)
	return s
}

// Gatherer returns what a scrape reads.
func (s *Set) Gatherer() prometheus.Gatherer { return s.registry }

// Gauge adds a series whose value is asked for at each scrape. The name must be new.
func (s *Set) Gauge(name, help string, value func() float64) {
	s.own.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// Counter adds a series that only grows, whose value is asked for at each scrape. The name must be new
// and ends in _total.
func (s *Set) Counter(name, help string, value func() float64) {
	s.own.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value))
}

// Registry is the state of the registry at one moment.
type Registry struct {
	Services, Instances, Sessions int
	// Commits is the number of the last change that was stored.
	Commits uint64
	// Stale is true while the store cannot be followed.
	Stale bool
}

// Registry adds the series of the registry. state is asked once for each scrape.
func (s *Set) Registry(state func() Registry) { s.own.MustRegister(registryCollector{state}) }

type registryCollector struct{ state func() Registry }

var (
	descServices = prometheus.NewDesc("toska_registry_services", "Services that have an instance.", nil, nil)
	descInstance = prometheus.NewDesc("toska_registry_instances", "Instances that are registered.", nil, nil)
	descSessions = prometheus.NewDesc("toska_registry_sessions", "Instances that hold a stream to this node.", nil, nil)
	descStale    = prometheus.NewDesc("toska_registry_stale", "1 while the store cannot be followed.", nil, nil)
	descCommits  = prometheus.NewDesc("toska_store_commits_total", "Changes that the store has committed.", nil, nil)
)

// Describe implements prometheus.Collector.
func (registryCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descServices, descInstance, descSessions, descStale, descCommits} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c registryCollector) Collect(ch chan<- prometheus.Metric) {
	st := c.state()
	stale := 0.0
	if st.Stale {
		stale = 1
	}
	for _, g := range []struct {
		desc  *prometheus.Desc
		value float64
	}{
		{descServices, float64(st.Services)}, {descInstance, float64(st.Instances)},
		{descSessions, float64(st.Sessions)}, {descStale, stale},
	} {
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.value)
	}
	ch <- prometheus.MustNewConstMetric(descCommits, prometheus.CounterValue, float64(st.Commits))
}
