// Package app puts a node together: which roles run, on which store, behind which listeners.
//
// # Concurrency
//
// An App is run once. Its methods are safe for concurrent use.
package app

import (
	"context"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/toska-mesh/toska-mesh/internal/backend/otel"
	"github.com/toska-mesh/toska-mesh/internal/role/health"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// The roles that exist. RoleAll stands for all of them.
const (
	RoleAll       = "all"
	RoleDiscovery = "discovery"
	RoleGateway   = "gateway"
	RoleHealth    = "health"
)

// Config is what an operator decides about a node.
type Config struct {
	// DataDir is the data directory, made if it is not there; default ./toska-data.
	DataDir string
	// Memory, if not nil, takes the place of DataDir: nothing is kept on disk.
	Memory *Memory
	// Roles that run here; default all.
	Roles []string
	// ListenGateway, ListenControl and ListenDiscovery are host:port; port 0 takes a free one.
	ListenGateway   string
	ListenControl   string
	ListenDiscovery string
	// ListenGatewayTLS is where the gateway listens with TLS, if File has certificates for it.
	ListenGatewayTLS string
	// AccessLog is "-" for Stdout, "off", or the path of a file that is appended to. The file is opened anew
	// when Reload has something.
	AccessLog string
	// accessLogGiven says that AccessLog is not the configuration file's to change.
	accessLogGiven bool
	// ReadyFile is written when the node is ready; empty for none.
	ReadyFile string
	// ConfigFile is the path of mesh.yaml; empty for none. It is read anew when it changes, and when
	// Reload has something. UseFile and WatchFile set it.
	ConfigFile string
	// File is what ConfigFile says at the start; nil for nothing.
	File *routefile.File
	// Reload asks for ConfigFile to be read anew; may be nil.
	Reload <-chan os.Signal
	// Attempts at endpoints for one request, the first among them; 0 for the default of 2.
	Attempts int
	// Probes are the numbers of the probes that the family's metadata asks for; zero fields have the
	// family's defaults.
	Probes health.Numbers
	// Spans says where spans go, beside what OTEL_EXPORTER_OTLP_* says.
	Spans otel.Config
	// Getenv reads the environment.
	Getenv func(string) string
	// Demo runs a few made-up services in this process, and requests to them.
	Demo bool
	// RoutePrefix is where services are found; default /api/.
	RoutePrefix string
	// Version of this program.
	Version string
	// Log takes what an operator should know.
	Log *slog.Logger
	// Stdout takes the access log if AccessLog says so.
	Stdout io.Writer
	// Wrap, if not nil, stands around the Run of each unit: tests make roles fail with it.
	Wrap func(unit string, run func(ctx context.Context, ready func()) error) func(ctx context.Context, ready func()) error

	// what UseFile and WatchFile found
	start   *reading // what is in force at the start; nil for nothing
	refused *reading // the file as it is, where start is an earlier one
	stamp   fileStamp
	given   func(flag string) bool // nil where nobody was asked
}

// DefaultConfig returns the defaults: everything, on loopback, logged nowhere.
func DefaultConfig() Config {
	return Config{
		DataDir: "toska-data", Roles: []string{RoleAll},
		ListenGateway: "127.0.0.1:5000", ListenGatewayTLS: "127.0.0.1:5443", ListenControl: "127.0.0.1:5010", ListenDiscovery: "127.0.0.1:8080",
		AccessLog: "-", RoutePrefix: route.DefaultPrefix, Version: "dev",
		Getenv: func(string) string { return "" },
		Log:    slog.New(slog.DiscardHandler), Stdout: io.Discard,
	}
}

// Validate names every field that is wrong.
func (c *Config) Validate() error {
	var fields []mesh.FieldError
	bad := func(field, problem string) {
		fields = append(fields, mesh.FieldError{Field: field, Problem: problem})
	}
	for _, r := range c.Roles {
		if r != RoleAll && r != RoleDiscovery && r != RoleGateway && r != RoleHealth {
			bad("roles", "there is no role "+r+"; there are all, discovery, gateway, health")
		}
	}
	if len(c.Roles) == 0 {
		bad("roles", "no role is given; all is the default")
	}
	if c.runs(RoleHealth) && !c.runs(RoleDiscovery) {
		bad("roles", "the role health needs discovery, which does not run here, and nodes cannot talk to each other yet; add discovery")
	}
	if c.Demo && !(c.runs(RoleDiscovery) && c.runs(RoleGateway)) {
		bad("demo", "needs the roles discovery and gateway; leave out --demo, or --roles")
	}
	if _, err := route.NormalPrefix(c.RoutePrefix); err != nil {
		bad("route-prefix", err.Error())
	}
	if c.ListenGatewayTLS != DefaultConfig().ListenGatewayTLS && !c.gatewayTLS() {
		bad("listen-gateway-tls", "there is no listener gateway-tls; give it certificates in mesh.yaml, as listeners.gateway-tls.certificates")
	}
	if c.DataDir == "" && c.Memory == nil {
		bad("data", "is empty; name a directory")
	}
	if len(fields) == 0 {
		return nil
	}
	return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid, Detail: "the configuration is wrong", Fields: fields}
}

// WithoutIdleTLS takes back an address for TLS that only the environment asks for where there are no
// certificates, and says so.
func (c *Config) WithoutIdleTLS() {
	def := DefaultConfig().ListenGatewayTLS
	if c.gatewayTLS() || c.ListenGatewayTLS == def {
		return
	}
	c.ListenGatewayTLS = def
	c.Log.Warn("setting of the environment is not honoured", "setting", "GATEWAY_HTTPS_PORT",
		"why", "mesh.yaml has no listeners.gateway-tls with certificates")
}

// gatewayTLS reports whether the gateway's listener with TLS is configured.
func (c *Config) gatewayTLS() bool {
	return c.File != nil && c.File.Listeners[routefile.GatewayTLSListener].TLS != nil
}

func (c *Config) runs(role string) bool {
	return slices.Contains(c.Roles, RoleAll) || slices.Contains(c.Roles, role)
}

// ParseRoles reads a comma-separated list.
func ParseRoles(s string) []string {
	var roles []string
	for r := range strings.SplitSeq(s, ",") {
		if r = strings.TrimSpace(r); r != "" {
			roles = append(roles, r)
		}
	}
	return roles
}
