package app_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/backend/otel"
	"github.com/toska-mesh/toska-mesh/internal/role/health"
	"github.com/toska-mesh/toska-mesh/mesh"
)

var updateEnvironment = flag.Bool("update-environment", false, "write docs/reference/environment.md anew")

// environ is an environment of these names alone.
func environ(pairs ...string) func(string) (string, bool) {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) (string, bool) {
		v, ok := m[name]
		return v, ok
	}
}

func TestWhatTheEnvironmentSets(t *testing.T) {
	tests := []struct {
		name string
		env  []string
		want app.EnvSettings
	}{
		{"nothing", nil, app.EnvSettings{}},
		{"empty values", []string{"GATEWAY_PORT", "", "JWT_SECRET_KEY", "", "CONSUL_ADDRESS", ""}, app.EnvSettings{}},
		{"the data directory", []string{"TOSKA_DATA", "/var/lib/toska"}, app.EnvSettings{DataDir: "/var/lib/toska"}},
		{"ports on all addresses", []string{"GATEWAY_PORT", "5000", "DISCOVERY_PORT", "0", "GATEWAY_HTTPS_PORT", "8443"},
			app.EnvSettings{ListenGateway: ":5000", ListenDiscovery: ":0", ListenGatewayTLS: ":8443"}},
		{"a prefix without slashes", []string{"GATEWAY_ROUTE_PREFIX", "svc"}, app.EnvSettings{RoutePrefix: "/svc/"}},
		{"the root as prefix", []string{"Mesh__Gateway__Routing__RoutePrefix", "/"}, app.EnvSettings{RoutePrefix: "/"}},
		{"two names that agree", []string{"GATEWAY_ROUTE_PREFIX", "svc", "Mesh__Gateway__Routing__RoutePrefix", "/svc/"},
			app.EnvSettings{RoutePrefix: "/svc/"}},
		{"no retries", []string{"GATEWAY_RETRY_COUNT", "0"}, app.EnvSettings{Attempts: 1}},
		{"the health monitor's numbers", []string{"HEALTHMONITOR_PROBE_INTERVAL_SECONDS", "15", "HEALTHMONITOR_HTTP_TIMEOUT_SECONDS", "7",
			"HealthMonitor__TcpTimeoutSeconds", "2", "HealthMonitor__RecoveryThreshold", "4", "HEALTHMONITOR_FAILURE_THRESHOLD", "5"},
			app.EnvSettings{Probes: health.Numbers{Interval: 15 * time.Second, HTTPTimeout: 7 * time.Second, TCPTimeout: 2 * time.Second, Down: 5, Up: 4}}},
		{"thresholds that are none are the family's", []string{"HEALTHMONITOR_FAILURE_THRESHOLD", "0", "HealthMonitor__RecoveryThreshold", "-1"},
			app.EnvSettings{Probes: health.Numbers{Down: 3, Up: 2}}},
		{"three retries, in upper case", []string{"MESH__GATEWAY__RESILIENCE__RETRYCOUNT", "3"}, app.EnvSettings{Attempts: 4}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, notices, err := app.FromEnvironment(environ(tt.env...))
			if err != nil || len(notices) > 0 {
				t.Fatalf("notices %v, error %v", notices, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatTheEnvironmentRefuses(t *testing.T) {
	const secret = "hunter2hunter2hunter2hunter2hunter2"
	tests := []struct {
		name  string
		env   []string
		field string // "" if nothing is refused
		says  string
	}{
		{"a port that is none", []string{"GATEWAY_PORT", "http"}, "GATEWAY_PORT", "no port"},
		{"a port that is too high", []string{"DISCOVERY_PORT", "65536"}, "DISCOVERY_PORT", "no port"},
		{"a port with a sign", []string{"GATEWAY_PORT", "+80"}, "GATEWAY_PORT", "no port"},
		{"a prefix that is no path", []string{"GATEWAY_ROUTE_PREFIX", "a/../b"}, "GATEWAY_ROUTE_PREFIX", "plain path"},
		{"two prefixes", []string{"GATEWAY_ROUTE_PREFIX", "a", "Mesh__Gateway__Routing__RoutePrefix", "b"},
			"Mesh__Gateway__Routing__RoutePrefix", "GATEWAY_ROUTE_PREFIX"},
		{"no count of retries", []string{"GATEWAY_RETRY_COUNT", "-1"}, "GATEWAY_RETRY_COUNT", "0 to 10"},
		{"a number of seconds that is none", []string{"HEALTHMONITOR_PROBE_INTERVAL_SECONDS", "30s"}, "HEALTHMONITOR_PROBE_INTERVAL_SECONDS", "1 to 86400"},
		{"no seconds at all", []string{"HEALTHMONITOR_TCP_TIMEOUT_SECONDS", "0"}, "HEALTHMONITOR_TCP_TIMEOUT_SECONDS", "1 to 86400"},
		{"a threshold that is none", []string{"HealthMonitor__FailureThreshold", "many"}, "HealthMonitor__FailureThreshold", "1 to 100"},
		{"a secret for tokens", []string{"JWT_SECRET_KEY", secret}, "JWT_SECRET_KEY", "unset it"},
		{"its name in .NET", []string{"Jwt__SecretKey", secret}, "Jwt__SecretKey", "unset it"},
		{"its other name in .NET", []string{"Jwt__Secret", secret}, "Jwt__Secret", "unset it"},
		{"its name in .NET in upper case", []string{"JWT__SECRET", secret}, "JWT__SECRET", "unset it"},
		{"a secret of services", []string{"Mesh__ServiceAuth__Secret", secret}, "Mesh__ServiceAuth__Secret", "TOSKA_ENV_IGNORE"},
		{"a rate limit", []string{"GATEWAY_RATE_LIMIT_PERMITS", "100"}, "GATEWAY_RATE_LIMIT_PERMITS", "how often"},
		{"a rate limit that is on", []string{"GATEWAY_RATE_LIMIT_ENABLED", "true"}, "GATEWAY_RATE_LIMIT_ENABLED", "how often"},
		{"a rate limit that may be on", []string{"GATEWAY_RATE_LIMIT_ENABLED", "nope"}, "GATEWAY_RATE_LIMIT_ENABLED", "how often"},
		{"a rate limit that is off", []string{"GATEWAY_RATE_LIMIT_ENABLED", "False", "GATEWAY_RATE_LIMIT_PERMITS", "100"}, "", ""},
		{"a rate limit of .NET", []string{"RateLimit__PermitLimit", "100"}, "RateLimit__PermitLimit", "how often"},
		{"a rate limit of .NET that is off", []string{"RateLimit__EnableRateLimiting", "false", "RateLimit__PermitLimit", "100"}, "", ""},
		{"a list of origins", []string{"GATEWAY_CORS_ALLOWED_ORIGINS", "https://a.example"}, "GATEWAY_CORS_ALLOWED_ORIGINS", "origins"},
		{"a list of origins of .NET", []string{"Cors__AllowedOrigins__0", "https://a.example"}, "Cors__AllowedOrigins__0", "origins"},
		{"a list of origins that is overridden", []string{"GATEWAY_CORS_ALLOWED_ORIGINS", "https://a.example", "GATEWAY_CORS_ALLOW_ANY_ORIGIN", "true"}, "", ""},
		{"a redirect to HTTPS", []string{"Mesh__Gateway__ForceHttpsRedirect", "true"}, "Mesh__Gateway__ForceHttpsRedirect", "HTTPS"},
		{"no redirect to HTTPS", []string{"Mesh__Gateway__ForceHttpsRedirect", "false"}, "", ""},
		{"an unknown name to ignore", []string{"TOSKA_ENV_IGNORE", "JWT_SECRET"}, "TOSKA_ENV_IGNORE", "JWT_SECRET"},
		{"what is honoured to ignore", []string{"TOSKA_ENV_IGNORE", "GATEWAY_PORT"}, "TOSKA_ENV_IGNORE", "GATEWAY_PORT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := app.FromEnvironment(environ(tt.env...))
			if tt.field == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var e *mesh.Error
			if !errors.As(err, &e) || !errors.Is(err, mesh.ErrInvalid) || e.Code != app.CodeEnvironment || len(e.Fields) != 1 {
				t.Fatalf("error %v, want one field", err)
			}
			if e.Fields[0].Field != tt.field || !strings.Contains(e.Fields[0].Problem, tt.says) || strings.Contains(err.Error(), secret) {
				t.Errorf("error %v, want %s with %q", err, tt.field, tt.says)
			}
			if got != (app.EnvSettings{}) {
				t.Errorf("settings %+v beside an error", got)
			}
		})
	}
}

func TestWhatIsKnowinglyIgnored(t *testing.T) {
	const secret = "hunter2hunter2hunter2hunter2hunter2"
	_, notices, err := app.FromEnvironment(environ("TOSKA_ENV_IGNORE", " jwt_secret_key,,consul__address",
		"JWT_SECRET_KEY", secret, "CONSUL__ADDRESS", "http://consul:8500", "RABBITMQ_URL", "amqp://u:"+secret+"@mq"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range notices {
		names = append(names, n.Name)
		if strings.Contains(n.Why, secret) {
			t.Errorf("the notice of %s tells the secret", n.Name)
		}
	}
	if diff := cmp.Diff([]string{"JWT_SECRET_KEY", "RABBITMQ_URL"}, names); diff != "" {
		t.Errorf("notices (-want +got):\n%s", diff)
	}
}

// An environment full of family names: nothing is passed over in silence, and no value is repeated.
func TestAnEnvironmentFullOfFamilyNames(t *testing.T) {
	const secret = "hunter2hunter2hunter2hunter2hunter2"
	fine := map[string]string{"GATEWAY_PORT": "5000", "GATEWAY_HTTPS_PORT": "5443", "DISCOVERY_PORT": "8080", "GATEWAY_RETRY_COUNT": "3",
		"Mesh__Gateway__Resilience__RetryCount": "3", "GATEWAY_ROUTE_PREFIX": "/api/", "Mesh__Gateway__Routing__RoutePrefix": "/api/",
		"TOSKA_DATA": "/data", "TOSKA_ENV_IGNORE": "",
		"HEALTHMONITOR_PROBE_INTERVAL_SECONDS": "30", "HealthMonitor__ProbeIntervalSeconds": "30",
		"HEALTHMONITOR_HTTP_TIMEOUT_SECONDS": "5", "HealthMonitor__HttpTimeoutSeconds": "5",
		"HEALTHMONITOR_TCP_TIMEOUT_SECONDS": "3", "HealthMonitor__TcpTimeoutSeconds": "3",
		"HEALTHMONITOR_FAILURE_THRESHOLD": "3", "HealthMonitor__FailureThreshold": "3", "HealthMonitor__RecoveryThreshold": "2"}
	var env []string
	want := map[app.EnvEffect]map[string]bool{}
	for _, n := range app.EnvNames() {
		value, ok := fine[n.Name]
		if strings.HasPrefix(n.Name, "OTEL_") {
			value, ok = "x", true // read elsewhere
		}
		if ok != (n.Effect == app.EnvHonoured) {
			t.Errorf("%s is %s, which this test does not expect", n.Name, n.Effect)
		}
		if !ok {
			value = secret
		}
		env = append(env, n.Name, value)
		if want[n.Effect] == nil {
			want[n.Effect] = map[string]bool{}
		}
		if want[n.Effect][n.Name] {
			t.Errorf("%s is in the table twice", n.Name)
		}
		want[n.Effect][n.Name] = true
	}
	_, notices, err := app.FromEnvironment(environ(env...))
	named, refused := map[string]bool{}, map[string]bool{}
	for _, n := range notices {
		named[n.Name] = true
	}
	var e *mesh.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v", err)
	}
	for _, f := range e.Fields {
		refused[f.Field] = true
	}
	if diff := cmp.Diff(want[app.EnvNamed], named); diff != "" {
		t.Errorf("notices (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[app.EnvRefused], refused); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	if all := fmt.Sprint(notices, err); strings.Contains(all, secret) {
		t.Error("a value is repeated")
	}
	// What closes something is ignored on demand, and the rest does what it says.
	var ignore []string
	for name := range want[app.EnvRefused] {
		ignore = append(ignore, name)
	}
	got, notices, err := app.FromEnvironment(environ(append(env, "TOSKA_ENV_IGNORE", strings.Join(ignore, ","))...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(app.EnvSettings{DataDir: "/data", ListenGateway: ":5000", ListenGatewayTLS: ":5443", ListenDiscovery: ":8080", RoutePrefix: "/api/", Attempts: 4,
		Probes: health.DefaultConfig().Metadata}, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if len(notices) != len(want[app.EnvNamed])+len(want[app.EnvRefused]) {
		t.Errorf("%d notices, want one for each of %d names", len(notices), len(want[app.EnvNamed])+len(want[app.EnvRefused]))
	}
}

// The reference page is what the table says.
func TestTheEnvironmentPageIsCurrent(t *testing.T) {
	const path = "../../docs/reference/environment.md"
	want := environmentPage()
	if *updateEnvironment {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("%s is out of date; run go test ./internal/app -run EnvironmentPage -update-environment (-page +table):\n%s", path, diff)
	}
}

// What the exporter of spans reads is on the page too.
func TestTheEnvironmentPageHasWhatTheExporterReads(t *testing.T) {
	known := map[string]bool{}
	for _, n := range app.EnvNames() {
		known[n.Name] = n.Effect == app.EnvHonoured
	}
	read := 0
	getenv := func(name string) string {
		read++
		if !known[name] {
			t.Errorf("%s is read and not told of", name)
		}
		if strings.HasSuffix(name, "_ENDPOINT") {
			return "http://127.0.0.1:4317"
		}
		return ""
	}
	if _, err := otel.Resolve(otel.Config{}, getenv); err != nil || read < 9 {
		t.Errorf("%d names were read, %v", read, err)
	}
}

func environmentPage() string {
	var b strings.Builder
	b.WriteString(`# Environment of a node

What ` + "`toska up`" + ` reads from its environment. A flag wins over the environment, and the environment over the
configuration file. An empty value says nothing. Names with a double underscore are also known in upper case.
Client commands read ` + "`TOSKA_CONTROL` and `TOSKA_TOKEN`" + `: see [cli.md](cli.md).

The family's other programs know many more settings. None of them is passed over in silence:

- what is **honoured** does what it says;
- what is **not honoured** is named in the log at the start, with the reason, and does nothing;
- what would close something that stays open here **refuses the start** (` + "`" + app.CodeEnvironment + "`" + `), unless
  ` + "`TOSKA_ENV_IGNORE`" + ` lists its name. The node is then more open than the setting wants it: put something in front of it.

No value is repeated in a message, but for ports, counts, prefixes and the names in ` + "`TOSKA_ENV_IGNORE`" + `.
`)
	for _, part := range []struct {
		effect app.EnvEffect
		title  string
		note   string
	}{
		{app.EnvHonoured, "Honoured", ""},
		{app.EnvRefused, "Refuses the start", "A limit, a list or a redirect that is switched off (`GATEWAY_RATE_LIMIT_ENABLED=false`, " +
			"`RateLimit__EnableRateLimiting=false`,\n`GATEWAY_CORS_ALLOW_ANY_ORIGIN=true`, `Cors__AllowAnyOrigin=true`, " +
			"`Mesh__Gateway__ForceHttpsRedirect=false`) closes nothing and refuses nothing.\n\n"},
		{app.EnvNamed, "Not honoured", ""},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n%s| name | what it does |\n|---|---|\n", part.title, part.note)
		names, does := []string{}, ""
		row := func() {
			if len(names) > 0 {
				fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(names, ", "), does)
			}
			names = nil
		}
		for _, n := range app.EnvNames() {
			if n.Effect != part.effect {
				continue
			}
			if n.Does != does {
				row()
				does = n.Does
			}
			names = append(names, "`"+n.Name+"`")
		}
		row()
	}
	return b.String()
}
