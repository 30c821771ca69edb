package route

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Origin is where an object was written: it is named when the object is refused.
type Origin struct {
	// File is the path as the operator gave it; for objects from elsewhere a word such as "apply".
	File string
	// Line and Column count from 1; zero where there are none.
	Line, Column int
}

// String returns file:line:column, as far as they are known.
func (o Origin) String() string {
	if o.Line == 0 {
		return o.File
	}
	return fmt.Sprintf("%s:%d:%d", o.File, o.Line, o.Column)
}

// Spec is one configured route as its owner wrote it. A zero field means that nothing was said.
type Spec struct {
	// Name is unique among all routes.
	Name   string
	Origin Origin
	// Hosts that the route takes, lower-case names without a port; none takes every host.
	Hosts []string
	// Exact and Prefix are canonical paths, and exclude each other; a prefix matches whole segments.
	// Without either the route takes every path.
	Exact, Prefix string
	// Methods that the route takes, upper-case; none takes all.
	Methods []string
	// StripPrefix is taken off the front of the path, ReplacePrefix put there instead of Prefix.
	StripPrefix   string
	ReplacePrefix string
	// Service that answers: a key of the registry or of the configured services.
	Service string
	// Host is what the endpoint is told: HostKeep (the default of configured routes), HostUpstream, or a
	// name.
	Host string
	// KeepEncodedSlash lets %2F pass.
	KeepEncodedSlash bool
	// Unlogged exchanges of the route have no line in the access log.
	Unlogged bool
	// Policy overrides the defaults where its fields are not zero.
	Policy Policy
}

// What Spec.Host may say besides a name.
const (
	// HostKeep passes the client's own Host.
	HostKeep = "keep"
	// HostUpstream says the address of the endpoint.
	HostUpstream = "upstream"
)

// ServiceSpec is what is configured of a service.
type ServiceSpec struct {
	Name   string
	Origin Origin
	// Strategy is a word that balance.ParseStrategy reads; empty for what the metadata says.
	Strategy string
	// Endpoints are host:port or https://host:port outside the registry; none means the registry's instances.
	Endpoints []string
	// Secure says that all endpoints are spoken to over TLS; without it those are that say so. TLS says how,
	// with paths that are absolute or relative to where the node runs.
	Secure bool
	TLS    upstream.TLS
	// Proxy is the version of the PROXY header that begins connections to the endpoints: 1, 2, or 0 for none.
	Proxy int
	// Policy overrides the defaults where its fields are not zero.
	Policy Policy
	// Prefix says whether the service is found under the prefix; nil for what the set says.
	Prefix *bool
}

// Policy bounds attempts. Zero fields are taken from the next wider one: route, service, defaults.
type Policy struct {
	// Connect bounds the dial, PerTry the wait for the head of an answer, Idle the time that a body may
	// make no progress, Total the whole exchange until the answer begins.
	Connect, PerTry, Idle, Total time.Duration
	// Attempts at endpoints for one request, the first among them; 1 means no retry.
	Attempts int
	// Budget is the share of requests that may be retried, as 0.2; negative for none.
	Budget float64
	// RetryAll retries methods that are not idempotent too.
	RetryAll bool
	// Upgrades says what a request may become.
	Upgrades Upgrades
	// Tunnel is how long a WebSocket may be silent in both directions; by default for ever. Drain is how long
	// one may stay whose route or endpoint has gone; by default for as long as its ends like.
	Tunnel, Drain time.Duration
	// Body, Ceiling and Rate are those of exchange.Bounds; negative for no bound.
	Body, Rate int64
	Ceiling    time.Duration
}

// Set is everything that is configured about routing, whole and valid one by one.
type Set struct {
	Defaults Policy
	// NoPrefix hides services from the prefix that do not say otherwise.
	NoPrefix bool
	Services []ServiceSpec
	Routes   []Spec
	// TrustedProxies are the networks whose forwarding fields count.
	TrustedProxies []netip.Prefix
	// Closed are the names of services that are out of force and were to be spoken to over TLS: nothing is
	// sent to their instances, which would be without it.
	Closed []string
	// Quarantined are the objects that were refused, each with its place and reason.
	Quarantined []Refusal
}

// The kinds of objects.
const (
	KindRoute   = "route"
	KindService = "service"
)

// Refusal is an object that is not in force.
type Refusal struct {
	Kind   string // KindRoute or KindService
	Name   string
	Origin Origin
	Reason string
}

// refusals are the refused entries of services, by mesh.ServiceKey.
func (s *Set) refusals() map[string]*Refusal {
	out := map[string]*Refusal{}
	for i := range s.Quarantined {
		if r := &s.Quarantined[i]; r.Kind == KindService {
			out[mesh.ServiceKey(r.Name)] = r
		}
	}
	return out
}

// Keeping returns s with the entries of last for those services whose entry in s was refused, so that a
// mistake changes nothing. It returns s itself if there are none. Neither is modified; last may be nil.
func (s *Set) Keeping(last *Set) *Set {
	if last == nil {
		return s
	}
	var kept []ServiceSpec
	refused := s.refusals()
	for i := range last.Services {
		if spec := &last.Services[i]; refused[mesh.ServiceKey(spec.Name)] != nil {
			kept = append(kept, *spec)
		}
	}
	if len(kept) == 0 {
		return s
	}
	with := *s
	with.Services = slices.Concat(s.Services, kept)
	with.Closed = slices.DeleteFunc(slices.Clone(s.Closed), func(name string) bool {
		return slices.ContainsFunc(kept, func(k ServiceSpec) bool { return mesh.ServiceKey(k.Name) == mesh.ServiceKey(name) })
	})
	return &with
}
