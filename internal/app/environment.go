package app

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/toska-mesh/toska-mesh/internal/role/health"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// CodeEnvironment is an environment in which the node refuses to start.
const CodeEnvironment = "TOSKA-ENV-REFUSED"

// envIgnore names the settings of the environment that are knowingly not honoured.
const envIgnore = "TOSKA_ENV_IGNORE"

// EnvSettings is what the environment says of a node. A zero field means that it says nothing.
type EnvSettings struct {
	// DataDir is the data directory.
	DataDir string
	// ListenGateway and ListenDiscovery are a port on all addresses, as ":5000".
	ListenGateway   string
	ListenDiscovery string
	// ListenGatewayTLS is a port too. It says nothing where no certificates are configured.
	ListenGatewayTLS string
	// RoutePrefix is where services are found, with a slash at both ends.
	RoutePrefix string
	// Attempts at endpoints for one request, the first among them: one more than the family's count of
	// retries.
	Attempts int
	// Probes are the numbers of the probes that metadata asks for.
	Probes health.Numbers
}

// Notice is a setting of the environment that is not honoured. It never holds the value.
type Notice struct {
	// Name of the setting.
	Name string
	// Why it is not honoured, and what is done instead.
	Why string
}

// EnvEffect says what a name in the environment does.
type EnvEffect uint8

const (
	// EnvHonoured names do what they say.
	EnvHonoured EnvEffect = iota
	// EnvNamed names do nothing, and are told of at the start.
	EnvNamed
	// EnvRefused names would close something that stays open here: the node does not start with them.
	EnvRefused
)

// String returns the words of the reference page.
func (e EnvEffect) String() string {
	switch e {
	case EnvHonoured:
		return "honoured"
	case EnvNamed:
		return "not honoured"
	case EnvRefused:
	}
	return "refuses the start"
}

// EnvName is one name that a node knows in its environment.
type EnvName struct {
	Name   string
	Effect EnvEffect
	// Does is what it does here, or why it does nothing.
	Does string
}

// EnvNames returns every name that FromEnvironment knows, in the order of the reference page.
func EnvNames() []EnvName {
	var out []EnvName
	for i := range envTable {
		row := &envTable[i]
		for _, name := range row.all() {
			out = append(out, EnvName{Name: name, Effect: row.effect, Does: row.does})
		}
	}
	return out
}

// FromEnvironment reads the settings of a node from its environment, through a function such as
// os.LookupEnv. An empty value says nothing. Names with a double underscore are also known in upper case,
// as their owners read them without case.
//
// A setting that is not honoured is a notice. One that would close something is an error, unless
// TOSKA_ENV_IGNORE lists its name; so is a value that makes no sense. The error is a *mesh.Error of kind
// mesh.ErrInvalid with a field for each name. Neither of them holds the value of a secret.
func FromEnvironment(get func(string) (string, bool)) (EnvSettings, []Notice, error) {
	r := envReader{get: get}
	r.readIgnored()
	for i := range envTable {
		r.read(&envTable[i])
	}
	if len(r.fields) > 0 {
		return EnvSettings{}, r.notices, &mesh.Error{Kind: mesh.ErrInvalid, Code: CodeEnvironment, Fields: r.fields,
			Detail: "the environment has settings with which the node does not start"}
	}
	return r.settings, r.notices, nil
}

// envReader gathers what the environment says.
type envReader struct {
	get      func(string) (string, bool)
	ignored  []string
	settings EnvSettings
	notices  []Notice
	fields   []mesh.FieldError
}

// lookup returns a value that says something, and the name that has it.
func (r *envReader) lookup(name string) (as, value string) {
	if v, ok := r.get(name); ok && v != "" {
		return name, v
	}
	if !strings.Contains(name, "__") {
		return "", ""
	}
	upper := strings.ToUpper(name)
	if v, ok := r.get(upper); ok && v != "" {
		return upper, v
	}
	return "", ""
}

func (r *envReader) refuse(name, problem string) {
	r.fields = append(r.fields, mesh.FieldError{Field: name, Problem: problem})
}

// readIgnored reads the names that are knowingly not honoured. One that is not known is a mistake.
func (r *envReader) readIgnored() {
	_, list := r.lookup(envIgnore)
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		same := func(n EnvName) bool { return strings.EqualFold(n.Name, name) && n.Effect != EnvHonoured }
		if !slices.ContainsFunc(EnvNames(), same) {
			r.refuse(envIgnore, fmt.Sprintf("lists %.64q, which is no setting that could be ignored", name))
		}
		r.ignored = append(r.ignored, strings.ToLower(name))
	}
}

// read takes the names of a row in turn.
func (r *envReader) read(row *envRow) {
	first := ""
	for _, name := range row.all() {
		as, value := r.lookup(name)
		switch {
		case as == "":
		case row.effect == EnvRefused:
			r.readClosing(row, as, value)
		case row.effect == EnvNamed:
			if !r.ignores(as) {
				r.notices = append(r.notices, Notice{Name: as, Why: row.does})
			}
		case row.apply != nil:
			first = r.apply(row, first, as, value)
		}
	}
}

func (r *envReader) ignores(name string) bool {
	return slices.Contains(r.ignored, strings.ToLower(name))
}

// readClosing refuses a setting that would close something.
func (r *envReader) readClosing(row *envRow, name, value string) {
	switch {
	case row.harmless != nil && row.harmless(r, value):
	case r.ignores(name):
		r.notices = append(r.notices, Notice{Name: name, Why: "ignored, as " + envIgnore + " says: it " + row.does})
	default:
		r.refuse(name, row.does+"; unset it to start without that, or list it in "+envIgnore)
	}
}

// apply puts a value into the settings. Of several names of one setting, first is the one that did so
// before, and the others must agree with it.
func (r *envReader) apply(row *envRow, first, name, value string) string {
	said := r.settings
	problem := row.apply(&said, value)
	switch {
	case problem != "":
		r.refuse(name, problem)
	case first != "" && said != r.settings:
		r.refuse(name, "says something else than "+first+", which means the same; unset one of them")
	default:
		r.settings = said
		return name
	}
	return first
}

// envRow is what several names have in common.
type envRow struct {
	// name is whole, or has a * that stands for each of parts.
	name   string
	parts  []string
	effect EnvEffect
	does   string
	// apply puts the value into the settings, or returns what is wrong with it. Nil for what is read
	// elsewhere.
	apply func(*EnvSettings, string) string
	// harmless reports that a setting that could close something does not, with this value or beside
	// another one. Nil means that it always does.
	harmless func(*envReader, string) bool
}

func (row *envRow) all() []string {
	if len(row.parts) == 0 {
		return []string{row.name}
	}
	out := make([]string, 0, len(row.parts))
	for _, part := range row.parts {
		out = append(out, strings.Replace(row.name, "*", part, 1))
	}
	return out
}

func setPort(set func(*EnvSettings, string)) func(*EnvSettings, string) string {
	return func(e *EnvSettings, value string) string {
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return fmt.Sprintf("%.64q is no port; set it to 0 to 65535, or unset it", value)
		}
		set(e, ":"+strconv.FormatUint(n, 10))
		return ""
	}
}

func setPrefix(e *EnvSettings, value string) string {
	p, err := route.NormalPrefix(value)
	if err != nil {
		return err.Error()
	}
	e.RoutePrefix = p
	return ""
}

// mostRetries is how many retries the environment may ask for.
const mostRetries = 10

func setRetries(e *EnvSettings, value string) string {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > mostRetries {
		return fmt.Sprintf("%.64q is no count of retries; set it to 0 to %d, or unset it", value, mostRetries)
	}
	e.Attempts = n + 1
	return ""
}

// says reports whether a switch of the environment has the value, in any of the forms of a boolean.
func (r *envReader) says(name string, want bool) bool {
	_, value := r.lookup(name)
	return isBool(value, want)
}

func isBool(value string, want bool) bool {
	b, err := strconv.ParseBool(strings.ToLower(strings.TrimSpace(value)))
	return err == nil && b == want
}

// The reasons that several rows share.
const (
	closesJWT = "would let only callers with a token signed by it through the gateway, which this version cannot check: " +
		"everyone could call"
	closesRate = "would limit how often a client may call, which this version cannot"
	closesCORS = "would keep browser pages of other origins out, which this version does not decide: it leaves CORS to the services"
	noJWT      = "tokens of users are not checked by this version"
	noCORS     = "CORS is left to the services, and OPTIONS goes to them; control and discovery take no page of another origin"
	noConsul   = "the registry is this node's own; Consul is not used"
	noBus      = "there is no message bus in this version"
	noMonitor  = "the health monitor has no port of its own; it answers on control and on the gateway's port"
	noLoop     = "`HealthMonitor__ProbeIntervalSeconds` says how often an instance is probed"
	noTLS      = "certificates and keys are named in mesh.yaml, in PEM form and without a password: `services.NAME.tls.client_certificate`"
	noGrains   = "there are no grains in this version"
	noKV       = "there is no key-value store in this version"
	noTracing  = "spans go by OTLP to where `otlp` in the configuration file or OTEL_EXPORTER_OTLP_ENDPOINT says"
	noSQL      = "there is no SQL database in this version"
	ofServices = "is a setting of a service, which its SDK reads; it says nothing to a node"
	ofCompose  = "is the port of a container beside this one; it says nothing to a node"
	ownToken   = "service tokens signed by a shared secret are not accepted by this version; its own are in the data directory"
)

// envTable is every name that is known. The reference page is made from it.
var envTable = slices.Concat(nodeRows, healthRows(), spanRows, familyRows)

// nodeRows are the settings of the node's own, and what the family calls them.
var nodeRows = []envRow{
	{name: "TOSKA_DATA", does: "the data directory; `--data` wins",
		apply: func(e *EnvSettings, v string) string { e.DataDir = v; return "" }},
	{name: envIgnore, does: "settings that are knowingly not honoured, separated by commas: those that would refuse the start are only told of then, the others not even that"},
	{name: "GATEWAY_PORT", does: "the gateway's port, on all addresses; `--listen-gateway` wins",
		apply: setPort(func(e *EnvSettings, a string) { e.ListenGateway = a })},
	{name: "GATEWAY_HTTPS_PORT", does: "the gateway's port for TLS, on all addresses, where `listeners.gateway-tls` has certificates; `--listen-gateway-tls` wins",
		apply: setPort(func(e *EnvSettings, a string) { e.ListenGatewayTLS = a })},
	{name: "DISCOVERY_PORT", does: "the port of the family's discovery, on all addresses, so that its clients need a token; `--listen-discovery` wins",
		apply: setPort(func(e *EnvSettings, a string) { e.ListenDiscovery = a })},
	{name: "*", parts: []string{"GATEWAY_ROUTE_PREFIX", "Mesh__Gateway__Routing__RoutePrefix"},
		does: "the path below which services are found, `/api/` by default", apply: setPrefix},
	{name: "*", parts: []string{"GATEWAY_RETRY_COUNT", "Mesh__Gateway__Resilience__RetryCount"},
		does: "how often a request is tried again, 0 to 10; only requests that may be repeated are, and within the budget", apply: setRetries},
}

// spanRows are OpenTelemetry's settings of where spans go, which are read with the configuration's.
var spanRows = []envRow{
	{name: "OTEL_EXPORTER_OTLP_*", parts: []string{"TRACES_ENDPOINT", "ENDPOINT"},
		does: "URL that spans are sent to; nothing is sent without one, or `otlp.endpoint` in the configuration file, over which it wins"},
	{name: "OTEL_EXPORTER_OTLP_*", parts: []string{"TRACES_PROTOCOL", "PROTOCOL"}, does: "`grpc` or `http/protobuf`"},
	{name: "OTEL_EXPORTER_OTLP_*", parts: []string{"TRACES_HEADERS", "HEADERS"}, does: "fields that are sent with spans, as KEY=VALUE separated by commas"},
	{name: "OTEL_EXPORTER_OTLP_*", parts: []string{"TRACES_INSECURE", "INSECURE", "TRACES_TIMEOUT", "TIMEOUT", "TRACES_COMPRESSION", "COMPRESSION",
		"TRACES_CERTIFICATE", "CERTIFICATE", "TRACES_CLIENT_CERTIFICATE", "CLIENT_CERTIFICATE", "TRACES_CLIENT_KEY", "CLIENT_KEY"},
		does: "as OpenTelemetry's exporter reads it"},
	{name: "OTEL_*", parts: []string{"RESOURCE_ATTRIBUTES", "SERVICE_NAME"}, does: "what spans say of the node; wins over its own words"},
	{name: "OTEL_SDK_DISABLED", does: "`true` sends no spans"},
	{name: "OTEL_TRACES_EXPORTER", does: "`none` sends no spans"},
	{name: "OTEL_TRACES_SAMPLER", does: "which traces that begin here are sampled; wins over `otlp.ratio`"},
	{name: "OTEL_TRACES_SAMPLER_ARG", does: "the ratio of that sampler"},
}

// familyRows are the settings of the family's other programs that a node does not honour.
var familyRows = []envRow{
	{name: "*", parts: []string{"JWT_SECRET_KEY", "Jwt__SecretKey", "Jwt__Secret"}, effect: EnvRefused, does: closesJWT},
	{name: "GATEWAY_RATE_LIMIT_*", parts: []string{"ENABLED", "PERMITS", "WINDOW_SECONDS"}, effect: EnvRefused, does: closesRate,
		harmless: func(r *envReader, _ string) bool { return r.says("GATEWAY_RATE_LIMIT_ENABLED", false) }},
	{name: "RateLimit__*", parts: []string{"EnableRateLimiting", "PermitLimit", "WindowSeconds", "QueueLimit"}, effect: EnvRefused, does: closesRate,
		harmless: func(r *envReader, _ string) bool { return r.says("RateLimit__EnableRateLimiting", false) }},
	{name: "GATEWAY_CORS_ALLOWED_ORIGINS", effect: EnvRefused, does: closesCORS,
		harmless: func(r *envReader, _ string) bool { return r.says("GATEWAY_CORS_ALLOW_ANY_ORIGIN", true) }},
	{name: "Cors__AllowedOrigins*", parts: []string{"", "__0", "__1", "__2", "__3"}, effect: EnvRefused, does: closesCORS,
		harmless: func(r *envReader, _ string) bool { return r.says("Cors__AllowAnyOrigin", true) }},
	{name: "Mesh__ServiceAuth__Secret", effect: EnvRefused,
		does: "would let only services with a token signed by it use discovery, which this version cannot check: it asks for its own tokens, and for none on loopback"},
	{name: "Mesh__Gateway__ForceHttpsRedirect", effect: EnvRefused, does: "would send clients from HTTP to HTTPS, which here `redirect: https` of a listener in mesh.yaml does",
		harmless: func(_ *envReader, v string) bool { return isBool(v, false) }},

	{name: "JWT_*", parts: []string{"ISSUER", "AUDIENCE"}, effect: EnvNamed, does: noJWT},
	{name: "Jwt__*", parts: []string{"Issuer", "Audience", "Expiration", "ExpirationMinutes", "ValidateIssuer", "ValidateAudience",
		"ValidateLifetime", "ValidateIssuerSigningKey"}, effect: EnvNamed, does: noJWT},
	{name: "GATEWAY_CORS_ALLOW_ANY_ORIGIN", effect: EnvNamed, does: noCORS},
	{name: "Cors__*", parts: []string{"AllowAnyOrigin", "AllowedHeaders__0", "AllowedMethods__0"}, effect: EnvNamed, does: noCORS},
	{name: "GATEWAY_ROUTE_REFRESH_SECONDS", effect: EnvNamed, does: "the gateway follows the registry at once and polls nothing"},
	{name: "Mesh__Gateway__Resilience__*", parts: []string{"RetryBaseDelayMilliseconds", "RetryBackoffExponent", "RetryJitterMilliseconds",
		"CircuitBreakerFailureThreshold", "CircuitBreakerSamplingDurationSeconds", "CircuitBreakerMinimumThroughput",
		"CircuitBreakerBreakDurationSeconds"}, effect: EnvNamed,
		does: "retries are held by a budget, and an instance that keeps failing is ejected by itself"},
	{name: "GATEWAY_CLIENT_CERT_PASSWORD", effect: EnvNamed, does: noTLS},
	{name: "Mesh__Gateway__Tls__*", parts: []string{"ClientCertificatePath", "ClientCertificatePassword"}, effect: EnvNamed, does: noTLS},
	{name: "MESH_SERVICE_AUTH_*", parts: []string{"SECRET", "ISSUER", "AUDIENCE"}, effect: EnvNamed, does: ownToken},
	{name: "Mesh__ServiceAuth__*", parts: []string{"Issuer", "Audience", "TokenLifetimeMinutes"}, effect: EnvNamed, does: ownToken},

	{name: "*", parts: []string{"CONSUL_ADDRESS", "Consul__Address", "Consul__Datacenter", "Consul__Token", "HealthChecks__Consul__HostName",
		"HealthChecks__Consul__Port"}, effect: EnvNamed, does: noConsul},
	{name: "*", parts: []string{"RABBITMQ_URL", "Messaging__RabbitMqHost", "Messaging__RabbitMqVirtualHost", "Messaging__RabbitMqUsername",
		"Messaging__RabbitMqPassword"}, effect: EnvNamed, does: noBus},
	{name: "HEALTHMONITOR_PORT", effect: EnvNamed, does: noMonitor},
	{name: "HealthCheck__IntervalSeconds", effect: EnvNamed, does: noLoop},
	{name: "DASHBOARD_*_URL", parts: []string{"PROMETHEUS", "TRACING", "DISCOVERY", "HEALTHMONITOR", "GATEWAY_BASE", "OBSERVABILITY_BASE"},
		effect: EnvNamed, does: "the node answers for the dashboard itself, as far as it can"},
	{name: "Dashboard__*BaseUrl", parts: []string{"Prometheus", "Tracing", "Discovery", "HealthMonitor"}, effect: EnvNamed,
		does: "the node answers for the dashboard itself, as far as it can"},
	{name: "Mesh__KeyValue__*", parts: []string{"Provider", "Redis__ConnectionString", "Redis__KeyPrefix", "Redis__Database",
		"ToskaStore__BaseUrl", "ToskaStore__AuthToken", "ToskaStore__KeyPrefix", "ToskaStore__EnableKeyIndex", "ToskaStore__KeyIndexKey"},
		effect: EnvNamed, does: noKV},
	{name: "Redis__*", parts: []string{"ConnectionString", "InstanceName"}, effect: EnvNamed, does: noKV},
	{name: "ConnectionStrings__*", parts: []string{"DefaultConnection", "OrleansStorage"}, effect: EnvNamed, does: noSQL},
	{name: "Orleans__*", parts: []string{"ClusterId", "ServiceId", "SiloPort", "GatewayPort", "ClusterProvider", "ClusteringMode",
		"ConsulAddress", "ConsulToken", "DatabaseConnectionString", "DatabaseInvariant", "AzureStorageConnectionString",
		"RedisStorageConnectionString", "RedisStorageDatabase", "RedisStorageKeyPrefix", "EnableDashboard", "DashboardPort", "AdvertisedIPAddress"},
		effect: EnvNamed, does: noGrains},

	{name: "ASPNETCORE_*", parts: []string{"URLS", "ENVIRONMENT"}, effect: EnvNamed,
		does: "is read by .NET programs; `--listen-gateway`, `--listen-control` and `--listen-discovery` move a node's listeners"},
	{name: "MESH_*", parts: []string{"SERVICE_NAME", "SERVICE_PORT", "DISCOVERY_ADDRESS"}, effect: EnvNamed, does: ofServices},
	{name: "Mesh__Service__*", parts: []string{"ServiceName", "ServiceId", "Address", "AdvertisedAddress", "Port", "HealthEndpoint",
		"HealthInterval", "HealthTimeout", "UnhealthyThreshold", "HeartbeatEnabled", "EnableTelemetry", "EnableAuth",
		"RegisterAutomatically", "AllowNoopServiceRegistry", "ServiceRegistryProvider", "Routing__Scheme",
		"Routing__HealthCheckEndpoint", "Routing__Strategy", "Routing__Weight"}, effect: EnvNamed, does: ofServices},
	{name: "Mesh__ServiceDiscovery__Grpc__*", parts: []string{"Address", "AllowInsecureTransport", "ClientCertificatePath",
		"ClientCertificatePassword"}, effect: EnvNamed, does: ofServices},
	{name: "Mesh__*", parts: []string{"Identity__ServiceName", "Identity__Roles__0", "ServiceName"}, effect: EnvNamed, does: ofServices},
	{name: "Mesh__Telemetry__*", parts: []string{"EnableConsoleTraceExporter", "TracingIngest__Enabled", "TracingIngest__Endpoint",
		"TracingIngest__Collector", "TracingIngest__UseMeshServiceAuth", "TracingIngest__ExportTimeoutSeconds", "TracingIngest__BatchSize",
		"TracingIngest__QueueSize", "TracingIngest__ExportDelayMs"}, effect: EnvNamed, does: noTracing},
	{name: "Tracing__*", parts: []string{"SamplingRatio", "EnableConsoleExporter", "Jaeger__Enabled", "Jaeger__Host", "Jaeger__Port",
		"Zipkin__Enabled", "Zipkin__Endpoint"}, effect: EnvNamed, does: noTracing},
	{name: "*_PORT", parts: []string{"POSTGRES", "REDIS", "CONSUL_HTTP", "CONSUL_DNS", "PROMETHEUS", "GRAFANA", "RABBITMQ", "RABBITMQ_UI"},
		effect: EnvNamed, does: ofCompose},
}
