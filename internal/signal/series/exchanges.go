package series

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	defaultCap = 2000
	// perTally bounds the combinations of method and status of one service and route: a service that
	// answers with every status there is must not use up what is there for all.
	perTally = 64
	// maxCodes bounds the codes of failures, which are a fixed list.
	maxCodes = 200
)

// Exchanges counts exchanges by service, route, method and status, and attempts by endpoint. Services
// beyond the bounds are counted together as Other, and how many exchanges that were is a series too.
type Exchanges struct {
	cfg    Config
	folded atomic.Uint64
	own    *Tally // what no service was asked for
	rest   *Tally // what is over the bounds

	tallies  atomic.Pointer[map[pair]*Tally]
	failures atomic.Pointer[map[string]*atomic.Uint64]

	children atomic.Int64 // over the bounded tallies; changed under mu
	crowded  atomic.Bool  // there are as many destinations as there may be

	mu     sync.Mutex                // held by whoever adds or drops a series
	totals map[string]*atomic.Uint64 // guarded by mu; by destination
}

// pair names a tally.
type pair struct{ service, route string }

func newExchanges(cfg Config) *Exchanges {
	for _, n := range []*int{&cfg.Services, &cfg.Children, &cfg.Destinations} {
		if *n <= 0 {
			*n = defaultCap
		}
	}
	e := &Exchanges{cfg: cfg, totals: map[string]*atomic.Uint64{}}
	e.own, e.rest = newTally(e, pair{service: Self}), newTally(e, pair{service: Other, route: Other})
	e.rest.rest = true
	e.tallies.Store(&map[pair]*Tally{e.own.pair: e.own, e.rest.pair: e.rest})
	e.failures.Store(&map[string]*atomic.Uint64{})
	return e
}

// Begin counts an exchange that is under way for a service by a route, and returns where to count its
// end.
func (e *Exchanges) Begin(service, route string) *Tally {
	all := *e.tallies.Load()
	t := all[pair{service, route}]
	if t == nil && len(all) >= e.cfg.Services+2 {
		t = e.rest
	}
	if t == nil {
		t = e.add(pair{service, route})
	}
	if t == e.rest {
		e.folded.Add(1)
	}
	t.inFlight.Add(1)
	return t
}

// full says that there are as many durations as there may be.
func (e *Exchanges) full() bool { return e.children.Load() >= int64(e.cfg.Children) }

// Own counts an exchange that ended without a service having been asked.
func (e *Exchanges) Own(o *Outcome) { e.own.observe(o) }

func (e *Exchanges) add(p pair) *Tally {
	e.mu.Lock()
	defer e.mu.Unlock()
	p = pair{label(p.service), label(p.route)}
	old := *e.tallies.Load()
	if t := old[p]; t != nil {
		return t
	}
	if len(old) >= e.cfg.Services+2 {
		return e.rest
	}
	t := newTally(e, p)
	next := maps.Clone(old)
	next[p] = t
	e.tallies.Store(&next)
	return t
}

// fail counts a failure by its code.
func (e *Exchanges) fail(code string) {
	n := (*e.failures.Load())[code]
	if n == nil {
		n = e.addFailure(code)
	}
	n.Add(1)
}

func (e *Exchanges) addFailure(code string) *atomic.Uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	code = label(code)
	old := *e.failures.Load()
	if old[code] == nil && len(old) >= maxCodes {
		code = Other
	}
	if n := old[code]; n != nil {
		return n
	}
	n := new(atomic.Uint64)
	next := maps.Clone(old)
	next[code] = n
	e.failures.Store(&next)
	return n
}

// Keep drops the series of services that has does not know, once no exchange is under way for them,
// and those of endpoints that it does not know; it is asked for the endpoint "" too, which stands for
// the service itself. It is called from time to time, not for each change.
func (e *Exchanges) Keep(has func(service, endpoint string) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := *e.tallies.Load()
	next := make(map[pair]*Tally, len(old))
	totals := map[string]*atomic.Uint64{}
	children := int64(0)
	for p, t := range old {
		if t.bounded() {
			if t.inFlight.Load() <= 0 && !has(p.service, "") {
				continue
			}
			t.keepDestinations(func(endpoint string) bool { return has(p.service, endpoint) })
		}
		next[p] = t
		if t.bounded() {
			children += int64(len(*t.children.Load()))
		}
		for name, d := range *t.destinations.Load() {
			totals[name] = d.total
		}
	}
	e.totals = totals
	e.children.Store(children)
	e.crowded.Store(len(totals) >= e.cfg.Destinations)
	if len(next) != len(old) {
		e.tallies.Store(&next)
	}
}

const (
	nameDuration = "http_server_request_duration_seconds"
	helpDuration = "Time from a request's head to the end of its answer; to the answer's head for one that became a tunnel."
)

var (
	gatewayLabels = prometheus.Labels{labelService: Self, labelServiceName: Self}

	descActive = prometheus.NewDesc("http_server_active_requests", "Requests that are under way.",
		[]string{"http_route", labelService, labelServiceName}, nil)
	descInFlight = prometheus.NewDesc("gateway_proxy_inflight", "Requests that are under way to any service.",
		nil, gatewayLabels)
	descRequests = prometheus.NewDesc("gateway_proxy_requests_total", "Requests by the endpoint that was asked last.",
		[]string{"destination"}, gatewayLabels)
	descRouted = prometheus.NewDesc("gateway_proxy_routed_requests_total",
		"Requests by the endpoint that was asked last, the service and the route.",
		[]string{"destination", "cluster_id", "route_id"}, gatewayLabels)
	descFailures = prometheus.NewDesc("gateway_proxy_failures_total",
		"Requests that the gateway could not bring to an end, by the code of why. Clients that left are not among them.",
		[]string{"error"}, gatewayLabels)
	descFolded = prometheus.NewDesc("toska_series_folded_total",
		"Requests counted under other because there are as many series as there may be.", nil, gatewayLabels)
)

// Describe implements prometheus.Collector and says nothing: what there is changes with the mesh.
func (e *Exchanges) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (e *Exchanges) Collect(ch chan<- prometheus.Metric) {
	var inFlight int64
	requests := map[string]uint64{}
	for _, t := range *e.tallies.Load() {
		inFlight += t.collect(ch, requests)
	}
	for destination, n := range requests {
		ch <- counter(descRequests, n, destination)
	}
	for code, n := range *e.failures.Load() {
		ch <- counter(descFailures, n.Load(), code)
	}
	ch <- gauge(descInFlight, inFlight)
	ch <- counter(descFolded, e.folded.Load())
}

func counter(d *prometheus.Desc, n uint64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

func gauge(d *prometheus.Desc, n int64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
}

// label makes a value that the exposition can hold.
func label(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
