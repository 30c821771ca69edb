package toska

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"strconv"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// Option changes how a program ties itself to the mesh: NewMesh, Join, JoinListener and NewClient take the
// same ones, and each uses those that concern it. An option in code goes before the environment, and the
// environment before the default.
type Option func(*options)

// What holds where neither an option nor the environment says otherwise.
const (
	// DefaultListen is where Join listens: a free port of the loopback address.
	DefaultListen = "127.0.0.1:0"
	// DefaultDrainDelay is how long an instance that leaves goes on taking requests after the mesh was told:
	// gateways hear it within milliseconds, other callers within a second.
	DefaultDrainDelay = time.Second
	// DefaultGrace is how long requests that are under way may take when the instance leaves.
	DefaultGrace = 10 * time.Second
	// DefaultHealthInterval is how often the service is asked for its health.
	DefaultHealthInterval = 10 * time.Second
	// DefaultHealthTimeout is how long it may take to answer.
	DefaultHealthTimeout = 5 * time.Second
	// DefaultCheck is the path that the mesh probes of a service that serves HTTP: it says that the process
	// answers and is not stopping, and nothing else. The service's own word (WithHealth) comes by report
	// alone, so that its return counts at once, without waiting for probes to find the same.
	DefaultCheck = "/health/ready?only=serving"
)

// options are what the options and the environment say.
type options struct {
	log *slog.Logger

	controls   []string
	controlsBy string // the variable that they come from, if any
	token      string
	tokenFile  string
	locate     Locator
	connect    Connector

	id         string
	version    string
	strategy   string
	strategyBy string // the variable that it comes from, if any
	weight     int    // 0 only where nobody gave one
	metadata   map[string]string
	check      *mesh.Check
	checkSet   bool
	listen     string
	listenBy   string // the variable that it comes from, if any
	advertise  string
	listener   net.Listener
	name       string // of the service, where the caller gives none

	drainDelay     time.Duration
	grace          time.Duration
	health         func(context.Context) error
	healthInterval time.Duration
	healthTimeout  time.Duration
	noEndpoints    bool

	client clientSettings

	wrongTie, wrongService []mesh.FieldError // what makes no sense
}

// WithLogger takes what an operator should know; the default is slog.Default(), and nil is no log.
func WithLogger(log *slog.Logger) Option {
	return func(o *options) {
		if log == nil {
			log = slog.New(slog.DiscardHandler)
		}
		o.log = log
	}
}

// WithControl names the control addresses of the mesh's nodes, each HOST:PORT: when one does not answer, the
// next is tried. The default is what TOSKA_CONTROL lists, separated by commas, else MESH_DISCOVERY_ADDRESS,
// else the node that the same user runs on this machine.
func WithControl(addresses ...string) Option {
	return func(o *options) { o.controls, o.controlsBy = addresses, "" }
}

// WithToken is the token to show to the mesh; the default is TOSKA_TOKEN, else what the file has that
// TOSKA_TOKEN_FILE names, else that of the same user's node.
func WithToken(token string) Option {
	return func(o *options) { o.token, o.tokenFile = token, "" }
}

// WithTokenFile is the path of a file that holds the token (environment: TOSKA_TOKEN_FILE). It is read each
// time that a node is looked for, so that a new token needs no restart.
func WithTokenFile(path string) Option {
	return func(o *options) { o.token, o.tokenFile = "", path }
}

// WithLocator finds the nodes of the mesh by f instead of by addresses and by this machine.
func WithLocator(f Locator) Option {
	return func(o *options) { o.locate = f }
}

// WithConnector makes the connections to nodes by f: for tests, and for what is not HTTP/2 in the clear.
func WithConnector(f Connector) Option {
	return func(o *options) { o.connect = f }
}

// WithID is the id of the instance (environment: TOSKA_ID); the default is one made for this run. Of two
// programs with one id the newer is the instance, and the older is told.
func WithID(id string) Option {
	return func(o *options) { o.id = id }
}

// WithMetadata adds one key to what the instance says of itself (environment: TOSKA_METADATA, as
// KEY=VALUE,KEY=VALUE). Keys of the routing contract, such as scheme, are among them.
func WithMetadata(key, value string) Option {
	return func(o *options) {
		o.metadata = maps.Clone(o.metadata)
		if o.metadata == nil {
			o.metadata = map[string]string{}
		}
		o.metadata[key] = value
	}
}

// WithVersion is the version of the service, told in the metadata as version (environment: TOSKA_VERSION).
func WithVersion(version string) Option {
	return func(o *options) { o.version = version }
}

// WithWeight is the instance's share of the requests compared with the service's other instances, 1 to 1000;
// the default is 1 (environment: TOSKA_WEIGHT). It is told in the metadata as weight.
func WithWeight(weight int) Option {
	return func(o *options) {
		if o.weight = weight; weight < leastWeight || weight > mostWeight {
			o.wrongService = append(o.wrongService, wrongWeight("weight", strconv.Itoa(weight)))
		}
	}
}

// WithStrategy is how requests are shared among the service's instances: RoundRobin, LeastConnections, Random
// or IPHash (environment: TOSKA_STRATEGY). The default is the one of two with fewer requests in flight. It is
// told in the metadata as lb_strategy.
func WithStrategy(strategy string) Option {
	return func(o *options) { o.strategy, o.strategyBy = strategy, "" }
}

// WithCheck is how the mesh probes the instance. The default is GET DefaultCheck for Join, or a TCP
// connection where the SDK does not answer that path, and a TCP connection for JoinListener; nil is no probe.
func WithCheck(check *mesh.Check) Option {
	return func(o *options) { o.check, o.checkSet = check, true }
}

// WithListen is where Join listens, as HOST:PORT, :PORT for all addresses, or PORT for this machine alone; port
// 0 takes a free one. The environment is TOSKA_LISTEN, else PORT, else MESH_SERVICE_PORT; the default is
// DefaultListen.
func WithListen(address string) Option {
	return func(o *options) { o.listen, o.listenBy = address, "" }
}

// WithListener serves on a listener that is open already, as one that the system handed down, in place of
// WithListen. It must be of TCP, and is closed at the end.
func WithListener(ln net.Listener) Option {
	return func(o *options) { o.listener = ln }
}

// WithAdvertise is the address at which others reach the instance, as HOST:PORT, or as HOST with the port that
// it listens on (environment: TOSKA_ADVERTISE). The default is the address that it listens on; if that is
// loopback or all addresses, the node takes the one that the registration came from.
func WithAdvertise(address string) Option {
	return func(o *options) { o.advertise = address }
}

// WithDrainDelay is how long an instance that leaves goes on taking requests, so that those who still send them
// have heard; the default is DefaultDrainDelay (environment: TOSKA_DRAIN_DELAY, as in 500ms).
func WithDrainDelay(d time.Duration) Option {
	return func(o *options) { o.drainDelay = d }
}

// WithGrace is how long requests that are under way may take once no new ones are taken; the default is
// DefaultGrace (environment: TOSKA_GRACE, as in 10s).
func WithGrace(d time.Duration) Option {
	return func(o *options) { o.grace = d }
}

// WithHealth asks f for the service's health, before it is registered and every interval after. nil is passing,
// an error is failing with its words, and one that Degraded made is degraded: picked where nothing else is. A
// panic is failing, and so is a call that does not return in time; it is not called again before it has
// returned. The context ends with the timeout and with the service.
func WithHealth(f func(context.Context) error) Option {
	return func(o *options) { o.health = f }
}

// WithHealthInterval is how often the function of WithHealth is called; the default is DefaultHealthInterval
// (environment: TOSKA_HEALTH_INTERVAL, as in 10s).
func WithHealthInterval(d time.Duration) Option {
	return func(o *options) { o.healthInterval = d }
}

// WithHealthTimeout is how long one call may take; the default is DefaultHealthTimeout (environment:
// TOSKA_HEALTH_TIMEOUT, as in 5s).
func WithHealthTimeout(d time.Duration) Option {
	return func(o *options) { o.healthTimeout = d }
}

// WithoutHealthEndpoints leaves /health, /health/live, /health/ready and /metrics to the service's own handler.
// The mesh then probes a TCP connection, unless WithCheck says otherwise.
func WithoutHealthEndpoints() Option {
	return func(o *options) { o.noEndpoints = true }
}
