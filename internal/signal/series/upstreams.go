package series

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Upstream is what is counted of the endpoints of one service.
type Upstream struct {
	Service string
	// Ejected is how many are out now.
	Ejected int
	// Ejections and Retries since the service is known.
	Ejections, Retries uint64
}

// Upstreams adds the series of endpoints. each is called for each scrape, and calls f for every service.
// Services at whose endpoints nothing ever happened have none, and those over the bound are counted
// together as Other.
func (s *Set) Upstreams(each func(f func(Upstream))) {
	s.registry.MustRegister(upstreamCollector{each, s.Exchanges.cfg.Services})
}

type upstreamCollector struct {
	each func(f func(Upstream))
	most int
}

var (
	labelsService = []string{labelService, labelServiceName}
	descEjections = prometheus.NewDesc("toska_ejections_total", "How often an endpoint was put out on observed failures.", labelsService, nil)
	descEjected   = prometheus.NewDesc("toska_ejected_endpoints", "Endpoints that are out now.", labelsService, nil)
	descRetries   = prometheus.NewDesc("toska_retries_total", "Attempts beyond the first of a request.", labelsService, nil)
)

// Describe implements prometheus.Collector and says nothing: what there is changes with the mesh.
func (upstreamCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c upstreamCollector) Collect(ch chan<- prometheus.Metric) {
	rest, n := Upstream{Service: Other}, 0
	folded := false
	send := func(u Upstream) {
		name := label(u.Service)
		ch <- counter(descEjections, u.Ejections, name, name)
		ch <- gauge(descEjected, int64(u.Ejected), name, name)
		ch <- counter(descRetries, u.Retries, name, name)
	}
	c.each(func(u Upstream) {
		if u.Ejections == 0 && u.Retries == 0 {
			return
		}
		// One that is called so is counted with the rest: a series must not come twice.
		if n++; n <= c.most && u.Service != Other {
			send(u)
			return
		}
		folded = true
		rest.Ejected += u.Ejected
		rest.Ejections += u.Ejections
		rest.Retries += u.Retries
	})
	if folded {
		send(rest)
	}
}
