package series

import (
	"maps"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Tally counts the exchanges of one service by one route.
type Tally struct {
	pair
	set      *Exchanges
	rest     bool
	inFlight atomic.Int64

	children     atomic.Pointer[map[uint32]prometheus.Histogram] // by childKey
	destinations atomic.Pointer[map[string]*destination]
}

// destination counts what one endpoint was asked for, by this tally and by all.
type destination struct {
	routed atomic.Uint64
	total  *atomic.Uint64
}

// Outcome is how an exchange ended. Its slices are only read during the call.
type Outcome struct {
	Method []byte
	// Status as answered.
	Status int
	// Secure says that the scheme is https.
	Secure bool
	// Version of HTTP: one of the Version constants.
	Version Version
	// Duration until the answer was complete, or until it began for one that became a tunnel.
	Duration time.Duration
	// Endpoint that was asked last; empty for none.
	Endpoint string
	// Failure is the stable code of why the gateway could not bring the exchange to an end; empty if it
	// could.
	Failure string
}

// Version of HTTP that the client spoke.
type Version uint8

// The versions that there are.
const (
	HTTP10 Version = iota
	HTTP11
	HTTP2
	HTTP3
)

var versions = [...]string{HTTP10: "1.0", HTTP11: "1.1", HTTP2: "2", HTTP3: "3"}

func newTally(set *Exchanges, p pair) *Tally {
	t := &Tally{pair: p, set: set}
	t.children.Store(&map[uint32]prometheus.Histogram{})
	t.destinations.Store(&map[string]*destination{})
	return t
}

// End counts the end of what Begin began. It is called once.
func (t *Tally) End(o *Outcome) {
	t.inFlight.Add(-1)
	d := t.destination(o.Endpoint)
	d.routed.Add(1)
	d.total.Add(1)
	t.observe(o)
}

// noDestination is the label of exchanges for which no endpoint was asked.
const noDestination = "none"

func (t *Tally) destination(endpoint string) *destination {
	switch {
	case t.rest:
		endpoint = Other
	case endpoint == "":
		endpoint = noDestination
	}
	all := *t.destinations.Load()
	d := all[endpoint]
	if d == nil && t.set.crowded.Load() {
		d = all[Other]
	}
	if d == nil {
		d = t.addDestination(endpoint)
	}
	return d
}

func (t *Tally) observe(o *Outcome) {
	if o.Failure != "" {
		t.set.fail(o.Failure)
	}
	key, e := keyOf(o), t.set
	h := t.find(key)
	if h == nil && t.bounded() && e.full() {
		h = e.rest.find(key)
		e.folded.Add(1)
	}
	if h == nil {
		h = t.addChild(key)
	}
	h.Observe(o.Duration.Seconds())
}

// bounded tallies share the number of children that there may be. The other two have few.
func (t *Tally) bounded() bool { return t != t.set.own && t != t.set.rest }

// find returns the child that a key is counted with, if it is there: that of a tally that has many
// already is coarse.
func (t *Tally) find(key uint32) prometheus.Histogram {
	children := *t.children.Load()
	h := children[key]
	if h == nil && len(children) >= perTally {
		h = children[coarse(key)]
	}
	return h
}

// methods are those that have a label of their own; the last stands for all others.
var methods = [...]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", Other}

func methodOf(m []byte) uint32 {
	for i, name := range methods[:len(methods)-1] {
		if string(m) == name {
			return uint32(i)
		}
	}
	return uint32(len(methods) - 1)
}

// statusOf takes a status that nobody knows for the first of its class (RFC 9110 section 15), so that
// an endpoint cannot make as many series as there are numbers.
func statusOf(status int) uint32 {
	switch {
	case status < 100 || status > 599:
		return 500
	case status == clientClosed || http.StatusText(status) != "":
		return uint32(status)
	}
	return uint32(status / 100 * 100)
}

// clientClosed is what nginx and others count for a client that left before it was answered.
const clientClosed = 499

// childKey packs the labels that differ within a tally: method, version, scheme, status.
func childKey(method, version, secure, status uint32) uint32 {
	return method<<16 | version<<14 | secure<<13 | status
}

func keyOf(o *Outcome) uint32 {
	var secure uint32
	if o.Secure {
		secure = 1
	}
	return childKey(methodOf(o.Method), uint32(min(o.Version, HTTP3)), secure, statusOf(o.Status))
}

// coarse is the key of all methods and all statuses of a class.
func coarse(key uint32) uint32 {
	status := key & (1<<13 - 1)
	return childKey(uint32(len(methods)-1), key>>14&3, key>>13&1, status/100*100)
}

// addChild returns the child that a key is counted with, made if it is not there: one of the rest when
// there are as many as there may be.
func (t *Tally) addChild(key uint32) prometheus.Histogram {
	e := t.set
	e.mu.Lock()
	defer e.mu.Unlock()
	if h := t.find(key); h != nil {
		return h
	}
	if t.bounded() {
		if e.full() {
			t = e.rest
		} else {
			e.children.Add(1)
		}
	}
	return t.child(key)
}

// child returns the child that a key is counted with, made if it is not there. The set's mutex is held.
func (t *Tally) child(key uint32) prometheus.Histogram {
	if h := t.find(key); h != nil {
		return h
	}
	old := *t.children.Load()
	if len(old) >= perTally {
		key = coarse(key)
	}
	scheme := "http"
	if key>>13&1 == 1 {
		scheme = "https"
	}
	labels := prometheus.Labels{
		"http_request_method":       methods[key>>16],
		"http_response_status_code": strconv.Itoa(int(key & (1<<13 - 1))),
		"http_route":                t.route,
		"url_scheme":                scheme,
		"network_protocol_version":  versions[key>>14&3],
		labelService:                t.service,
		labelServiceName:            t.service,
	}
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: nameDuration, Help: helpDuration, ConstLabels: labels, Buckets: buckets,
	})
	next := maps.Clone(old)
	next[key] = h
	t.children.Store(&next)
	return h
}

// buckets are those of the OpenTelemetry conventions, which the family's services have too, and two
// more below: a gateway's own share is short.
var buckets = []float64{
	0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
}

func (t *Tally) addDestination(name string) *destination {
	e := t.set
	e.mu.Lock()
	defer e.mu.Unlock()
	name = label(name)
	if e.totals[name] == nil && len(e.totals) >= e.cfg.Destinations {
		e.crowded.Store(true)
		name = Other
	}
	old := *t.destinations.Load()
	if d := old[name]; d != nil {
		return d
	}
	total := e.totals[name]
	if total == nil {
		total = new(atomic.Uint64)
		e.totals[name] = total
	}
	d := &destination{total: total}
	next := maps.Clone(old)
	next[name] = d
	t.destinations.Store(&next)
	return d
}

// keepDestinations drops the endpoints that has does not know. The set's mutex is held.
func (t *Tally) keepDestinations(has func(endpoint string) bool) {
	old := *t.destinations.Load()
	next := maps.Clone(old)
	maps.DeleteFunc(next, func(name string, _ *destination) bool {
		return name != Other && name != noDestination && !has(name)
	})
	if len(next) != len(old) {
		t.destinations.Store(&next)
	}
}

// collect tells the tally's series, adds up its destinations, and returns how many exchanges are under
// way.
func (t *Tally) collect(ch chan<- prometheus.Metric, requests map[string]uint64) int64 {
	children := *t.children.Load()
	for _, h := range children {
		h.Collect(ch)
	}
	for name, d := range *t.destinations.Load() {
		requests[name] = d.total.Load()
		ch <- counter(descRouted, d.routed.Load(), name, t.service, t.route)
	}
	n := t.inFlight.Load()
	if t != t.set.own && (n != 0 || len(children) > 0) {
		ch <- gauge(descActive, n, t.route, t.service, t.service)
	}
	return n
}
