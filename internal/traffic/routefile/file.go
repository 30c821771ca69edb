// Package routefile reads the configuration file: mesh.yaml.
//
// It is strict. A mistake is told with its line, its column and the nearest valid word. One inside a
// route or a service takes that object alone out of force; any other is fatal: the file as a whole is
// not taken. Of YAML it reads what a configuration needs, in one meaning: mappings, lists and scalars,
// in block and flow form; neither anchors, aliases, merge keys, tags and directives nor a second
// document.
//
// # Concurrency
//
// Parse is a pure function: it touches neither the disk nor the network, and what it returns is its
// caller's.
package routefile

import (
	"net/netip"

	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	// MaxBytes is the size of the largest file that is read.
	MaxBytes = 4 << 20
	// MaxDepth is how deep mappings and lists may nest.
	MaxDepth = 32
	// MaxObjects is how many routes, and how many services, a file may have.
	MaxObjects = 50_000
)

// File is what a configuration file says. What it does not say is zero, but for OTLP's defaults.
type File struct {
	// Listeners of the gateway by name.
	Listeners map[string]Listener
	// Control is where the control API listens.
	Control Address
	// ControlTLS is how TLS is spoken there; nil where it is not.
	ControlTLS *TLS
	// Discovery is the port of the family's gRPC.
	Discovery Discovery
	// Dashboard says who may use it.
	Dashboard Dashboard
	// TrustedProxies are the networks whose forwarding fields count; Set has them too.
	TrustedProxies []netip.Prefix
	// Limits of what a client may send.
	Limits Limits
	// Set is what is said of routing: the objects that are valid, and those that were refused.
	Set route.Set
	// Checks say how the instances of services are probed, by service key; nil for none. Zero fields were
	// not given.
	Checks map[string]mesh.Check
	// OTLP is where spans go.
	OTLP OTLP
	// AccessLog is where the lines of the access log go, and what they hold.
	AccessLog AccessLog
}

// The names of the gateway's listeners that have an address without being given one.
const (
	GatewayListener    = "gateway"
	GatewayTLSListener = "gateway-tls"
)

// Address is a host:port, and where it was written. An empty one was not given.
type Address struct {
	HostPort string
	Origin   route.Origin
}

// Discovery is the port of the family's gRPC.
type Discovery struct {
	Address Address
	// TLS is how TLS is spoken there; nil where it is not.
	TLS *TLS
	// Anonymous callers may register there even where the listener is not loopback.
	Anonymous bool
}

// Dashboard is what the family's dashboard reads, and the series, on the gateway's port.
type Dashboard struct {
	// Anonymous callers may read them even where the listener is not loopback.
	Anonymous bool
}

// Limits bound what a client may send. Zero fields were not given.
type Limits struct {
	// Fields in a head.
	Fields int
	// FieldBytes of one field line, HeadBytes of a whole head.
	FieldBytes, HeadBytes int
}

// The protocols of OTLP.
const (
	OTLPGRPC = "grpc"
	OTLPHTTP = "http"
)

// OTLP says where spans go.
type OTLP struct {
	// Endpoint is host:port or an http(s) URL; empty for nowhere.
	Endpoint string
	// Protocol is OTLPGRPC (the default) or OTLPHTTP.
	Protocol string
	// Ratio of the traces that begin here and are sampled; default 1.
	Ratio float64
	// Insecure is a connection without TLS; an http URL implies it.
	Insecure bool
	Origin   route.Origin
}

// Parse reads a file. name stands for it in what is told of it; data is not kept. The problems are in the
// order of the file. With a fatal one among them the file is nil; otherwise it is whole, and each object
// that has a problem is quarantined in its Set.
func Parse(name string, data []byte) (*File, Problems) {
	p := &parsing{name: name, file: &File{OTLP: OTLP{Protocol: OTLPGRPC, Ratio: 1}}}
	root, at, reason := readTree(data)
	if reason != "" {
		p.problems = Problems{{Origin: p.origin(at), Reason: reason, Fatal: true}}
		return nil, p.problems
	}
	if root != nil {
		p.top(value{p: p, into: &p.problems, node: root})
	}
	problems := p.finish()
	if problems.Fatal() {
		return nil, problems
	}
	return p.file, problems
}

// parsing is one call of Parse.
type parsing struct {
	name     string
	file     *File
	problems Problems // those outside of objects
	services []object[serviceSpec]
	routes   []object[route.Spec]
}

func (p *parsing) origin(at place) route.Origin {
	return route.Origin{File: p.name, Line: at.line, Column: at.column}
}
