package otel

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/toska-mesh/toska-mesh/internal/signal/span"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// The protocols, as OTEL_EXPORTER_OTLP_PROTOCOL names them.
const (
	GRPC = "grpc"
	HTTP = "http/protobuf"
)

// Config says where spans go. The zero Config says nowhere.
type Config struct {
	// Endpoint is host:port, or a URL whose scheme says whether there is TLS; empty for what the
	// environment says. A URL for HTTP without a path has /v1/traces.
	Endpoint string
	// Protocol is GRPC or HTTP; default GRPC.
	Protocol string
	// Insecure sends in the clear to an Endpoint that is host:port.
	Insecure bool
	// Headers go with every request.
	Headers map[string]string
	// Ratio is the share of the traces that begin here; nil for all of them.
	Ratio *float64
}

// Validate names every field that is wrong.
func (c *Config) Validate() error {
	var fields []mesh.FieldError
	bad := func(field, format string, args ...any) {
		fields = append(fields, mesh.FieldError{Field: field, Problem: fmt.Sprintf(format, args...)})
	}
	if c.Endpoint != "" && !validEndpoint(c.Endpoint) {
		bad("otlp.endpoint", "%q is neither host:port nor an http or https URL", c.Endpoint)
	}
	if c.Protocol != "" && c.Protocol != GRPC && c.Protocol != HTTP {
		bad("otlp.protocol", "%q is not spoken; there are %s and %s", c.Protocol, GRPC, HTTP)
	}
	if r := c.Ratio; r != nil && !(*r >= 0 && *r <= 1) {
		bad("otlp.ratio", "%v is not between 0 and 1", *r)
	}
	for name, value := range c.Headers {
		if name == "" || strings.ContainsAny(name, " \t\r\n:") || strings.ContainsAny(value, "\r\n") {
			bad("otlp.headers", "%q is not a field that can be sent", name)
		}
	}
	if len(fields) == 0 {
		return nil
	}
	slices.SortFunc(fields, func(a, b mesh.FieldError) int { return strings.Compare(a.Field, b.Field) })
	return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid, Detail: "the export of spans is misconfigured", Fields: fields}
}

func validEndpoint(s string) bool {
	if !strings.Contains(s, "://") {
		host, port, err := net.SplitHostPort(s)
		return err == nil && host != "" && port != "" && !strings.ContainsAny(s, "/ ")
	}
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}

// Plan is a Config together with what the environment says, which wins.
type Plan struct {
	// Enabled says that there is somewhere to send spans to.
	Enabled bool
	// Sampler chooses the traces.
	Sampler span.Sampler
	// Protocol is GRPC or HTTP.
	Protocol string
	// endpoint and headers are those of the file; empty where the environment has its own, which the
	// library reads by itself.
	endpoint string
	insecure bool
	headers  map[string]string
}

// Resolve joins a valid configuration and the environment, OTEL_EXPORTER_OTLP_* and OTEL_TRACES_*.
// getenv is os.Getenv but in tests.
func Resolve(cfg Config, getenv func(string) string) (Plan, error) {
	first := func(names ...string) string {
		for _, name := range names {
			if v := strings.TrimSpace(getenv(name)); v != "" {
				return v
			}
		}
		return ""
	}
	p := Plan{Protocol: cfg.Protocol, endpoint: cfg.Endpoint, insecure: cfg.Insecure, headers: cfg.Headers}
	address := first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
	if address != "" {
		p.endpoint = ""
	}
	if first("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS") != "" {
		p.headers = nil
	}
	if v := first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); v != "" {
		p.Protocol = v
	}
	if p.Protocol == "" {
		p.Protocol = GRPC
	}
	p.Enabled = (address != "" || p.endpoint != "") &&
		!strings.EqualFold(first("OTEL_SDK_DISABLED"), "true") && first("OTEL_TRACES_EXPORTER") != "none"
	if !p.Enabled {
		return p, nil
	}
	return p, p.finish(cfg, address, first("OTEL_TRACES_SAMPLER"), first("OTEL_TRACES_SAMPLER_ARG"))
}

// finish checks what the environment says.
func (p *Plan) finish(cfg Config, address, sampler, arg string) error {
	wrong := func(field, problem string) error {
		return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid, Detail: "the environment is wrong",
			Fields: []mesh.FieldError{{Field: field, Problem: problem}}}
	}
	if p.Protocol != GRPC && p.Protocol != HTTP {
		return wrong("OTEL_EXPORTER_OTLP_PROTOCOL", fmt.Sprintf("%q is not spoken; there are %s and %s", p.Protocol, GRPC, HTTP))
	}
	if address != "" && !strings.Contains(address, "://") {
		return wrong("OTEL_EXPORTER_OTLP_ENDPOINT", fmt.Sprintf("%q is not a URL such as http://localhost:4317", address))
	}
	if sampler == "" && arg == "" && cfg.Ratio != nil {
		p.Sampler = span.NewSampler(*cfg.Ratio)
		return nil
	}
	s, err := span.ParseSampler(sampler, arg)
	if err != nil {
		return wrong("OTEL_TRACES_SAMPLER", err.Error())
	}
	p.Sampler = s
	return nil
}
