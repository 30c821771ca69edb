package series

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Member is the series of a program that serves one instance of a service, beside those of its process and
// of the runtime. It is safe for concurrent use.
type Member struct {
	registry  *prometheus.Registry
	durations *prometheus.HistogramVec
	active    prometheus.Gauge
}

// NewMember returns the series of an instance of the service. standing tells at each scrape whether it is
// tied to the mesh, and how often it was registered anew.
func NewMember(service string, standing func() (tied bool, again uint64)) *Member {
	m := &Member{registry: prometheus.NewRegistry()}
	own := prometheus.WrapRegistererWith(prometheus.Labels{labelService: label(service), labelServiceName: label(service)}, m.registry)
	m.durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: nameDuration, Help: helpDuration, Buckets: memberBuckets(),
	}, []string{"http_request_method", "http_response_status_code", "network_protocol_version"})
	m.active = prometheus.NewGauge(prometheus.GaugeOpts{Name: "http_server_active_requests", Help: "Requests that are under way."})
	own.MustRegister(collectors.NewGoCollector(), newProcess(), m.durations, m.active,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "toska_registered", Help: "1 while the instance is tied to the mesh; 0 gets it no traffic from there before long.",
		}, func() float64 {
			if tied, _ := standing(); tied {
				return 1
			}
			return 0
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "toska_reregistrations_total", Help: "How often the instance was registered anew since its first time.",
		}, func() float64 { _, again := standing(); return float64(again) }))
	return m
}

// memberBuckets returns the upper bounds of the durations, in seconds.
func memberBuckets() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
}

// Gatherer returns what a scrape reads.
func (m *Member) Gatherer() prometheus.Gatherer { return m.registry }

// Begin counts a request that is under way.
func (m *Member) Begin() { m.active.Inc() }

// End counts the request's end. Methods that HTTP does not name are counted as one.
func (m *Member) End(method string, status, major int, took time.Duration) {
	m.active.Dec()
	if !slices.Contains(namedMethods(), method) {
		method = "_OTHER"
	}
	version := "1.1"
	if major >= 2 {
		version = strconv.Itoa(major)
	}
	m.durations.WithLabelValues(method, strconv.Itoa(status), version).Observe(took.Seconds())
}

func namedMethods() []string {
	return []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace}
}
