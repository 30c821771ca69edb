package e2e_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/test/node"
)

// contract is every name that the family's programs, samples and manifests set, as they set it.
var contract = strings.Fields(`
	GATEWAY_PORT GATEWAY_ROUTE_PREFIX GATEWAY_ROUTE_REFRESH_SECONDS GATEWAY_RETRY_COUNT GATEWAY_HTTPS_PORT GATEWAY_CLIENT_CERT_PASSWORD
	GATEWAY_RATE_LIMIT_ENABLED GATEWAY_RATE_LIMIT_PERMITS GATEWAY_RATE_LIMIT_WINDOW_SECONDS
	GATEWAY_CORS_ALLOW_ANY_ORIGIN GATEWAY_CORS_ALLOWED_ORIGINS JWT_SECRET_KEY JWT_ISSUER JWT_AUDIENCE
	DASHBOARD_PROMETHEUS_URL DASHBOARD_TRACING_URL DASHBOARD_DISCOVERY_URL DASHBOARD_HEALTHMONITOR_URL
	DASHBOARD_GATEWAY_BASE_URL DASHBOARD_OBSERVABILITY_BASE_URL
	MESH_SERVICE_AUTH_SECRET MESH_SERVICE_AUTH_ISSUER MESH_SERVICE_AUTH_AUDIENCE
	DISCOVERY_PORT CONSUL_ADDRESS RABBITMQ_URL HEALTHMONITOR_PORT HEALTHMONITOR_PROBE_INTERVAL_SECONDS HEALTHMONITOR_HTTP_TIMEOUT_SECONDS
	HEALTHMONITOR_TCP_TIMEOUT_SECONDS HEALTHMONITOR_FAILURE_THRESHOLD MESH_SERVICE_NAME MESH_SERVICE_PORT MESH_DISCOVERY_ADDRESS
	ASPNETCORE_ENVIRONMENT ASPNETCORE_URLS Consul__Address Consul__Datacenter Consul__Token
	Mesh__ServiceDiscovery__Grpc__Address Mesh__ServiceDiscovery__Grpc__AllowInsecureTransport
	Mesh__ServiceDiscovery__Grpc__ClientCertificatePath Mesh__ServiceDiscovery__Grpc__ClientCertificatePassword
	Mesh__ServiceAuth__Secret Mesh__ServiceAuth__Issuer Mesh__ServiceAuth__Audience Mesh__Identity__ServiceName
	Mesh__Service__ServiceName Mesh__Service__ServiceId Mesh__Service__AdvertisedAddress Mesh__Service__Address Mesh__Service__Port
	Mesh__Service__RegisterAutomatically Mesh__Service__ServiceRegistryProvider Mesh__Service__Routing__HealthCheckEndpoint
	Mesh__Service__AllowNoopServiceRegistry Mesh__KeyValue__Provider Mesh__KeyValue__Redis__ConnectionString
	Messaging__RabbitMqHost Messaging__RabbitMqUsername Messaging__RabbitMqPassword
	ConnectionStrings__DefaultConnection ConnectionStrings__OrleansStorage Jwt__SecretKey Jwt__Secret Jwt__Issuer Jwt__Audience
	Orleans__ClusterId Orleans__ServiceId Orleans__SiloPort Orleans__ClusterProvider
	HealthCheck__IntervalSeconds HealthChecks__Consul__HostName HealthChecks__Consul__Port Redis__ConnectionString Redis__InstanceName
	RateLimit__EnableRateLimiting RateLimit__PermitLimit RateLimit__WindowSeconds RateLimit__QueueLimit
	Mesh__Gateway__Routing__RoutePrefix Mesh__Gateway__Resilience__RetryCount Mesh__Gateway__ForceHttpsRedirect
	Mesh__Gateway__Resilience__CircuitBreakerFailureThreshold Mesh__Gateway__Tls__ClientCertificatePath Cors__AllowedOrigins__0
	Tracing__SamplingRatio Tracing__Jaeger__Host Mesh__Telemetry__TracingIngest__Endpoint
	POSTGRES_PORT REDIS_PORT CONSUL_HTTP_PORT CONSUL_DNS_PORT PROMETHEUS_PORT GRAFANA_PORT RABBITMQ_PORT RABBITMQ_UI_PORT`)

// familyEnvironment has every name that is known and every name of the contract, with a value that must
// not be seen again, but for what is honoured.
func familyEnvironment(secret string, honoured map[string]string) (env []string, refused, told []string) {
	effects := map[string]app.EnvEffect{}
	for _, n := range app.EnvNames() {
		effects[n.Name] = n.Effect
	}
	names := contract
	for name := range effects {
		names = append(names, name)
	}
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name] || name == "TOSKA_ENV_IGNORE" || strings.HasPrefix(name, "OTEL_") { // which are not the family's
			continue
		}
		seen[name] = true
		value := honoured[name]
		if value == "" {
			value = secret
			// What nobody knows must be told of too: it is expected, and will not be found.
			if effect, known := effects[name]; known && effect == app.EnvRefused {
				refused = append(refused, name)
			} else {
				told = append(told, name)
			}
		}
		env = append(env, name+"="+value)
	}
	return env, refused, told
}

func TestAnEnvironmentFullOfTheFamilysNames(t *testing.T) {
	const secret = "hunter2hunter2hunter2hunter2hunter2"
	dir := shortDir(t)
	bin := build(t, dir)
	data, gateway, discovery := filepath.Join(dir, "data"), freePort(t), freePort(t)
	env, refused, told := familyEnvironment(secret, map[string]string{
		"TOSKA_DATA": data, "GATEWAY_PORT": gateway, "GATEWAY_HTTPS_PORT": "5443", "DISCOVERY_PORT": discovery,
		"GATEWAY_ROUTE_PREFIX": "/svc/", "Mesh__Gateway__Routing__RoutePrefix": "svc",
		"GATEWAY_RETRY_COUNT": "3", "Mesh__Gateway__Resilience__RetryCount": "3",
		"HEALTHMONITOR_PROBE_INTERVAL_SECONDS": "30", "HealthMonitor__ProbeIntervalSeconds": "30",
		"HEALTHMONITOR_HTTP_TIMEOUT_SECONDS": "5", "HealthMonitor__HttpTimeoutSeconds": "5",
		"HEALTHMONITOR_TCP_TIMEOUT_SECONDS": "3", "HealthMonitor__TcpTimeoutSeconds": "3",
		"HEALTHMONITOR_FAILURE_THRESHOLD": "3", "HealthMonitor__FailureThreshold": "3",
		"HealthMonitor__RecoveryThreshold": "2",
	})
	env = append(node.Env(dir), env...)
	start := func(extra ...string) *node.Process {
		t.Helper()
		p, err := node.Start(context.WithoutCancel(t.Context()), nil, append(env, extra...), bin, "up",
			"--listen-control", "127.0.0.1:0", "--ready-file", filepath.Join(dir, "ready.json"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Stop(10 * time.Second) }) // one of them ends by itself
		return p
	}
	says := func(out string, names []string, form string) {
		t.Helper()
		for _, name := range names {
			if !strings.Contains(out, fmt.Sprintf(form, name)) {
				t.Errorf("%s is passed over in silence", name)
			}
		}
		if strings.Contains(out, secret) {
			t.Error("a value is repeated")
		}
	}

	t.Run("what would close something refuses the start and says what to do", func(t *testing.T) {
		p := start()
		select {
		case <-p.Done():
		case <-time.After(20 * time.Second):
			t.Fatalf("the node runs\n%s", p.Output())
		}
		says(p.Output(), refused, "%s: ")
		if out := p.Output(); !strings.Contains(out, "unset it to start without that, or list it in TOSKA_ENV_IGNORE") {
			t.Errorf("it does not say what to do:\n%s", out)
		}
		if _, err := os.Stat(data); err == nil {
			t.Error("the data directory was touched")
		}
	})
	t.Run("what is knowingly ignored and what is not honoured is named, and the rest is in force", func(t *testing.T) {
		p := start("TOSKA_ENV_IGNORE=" + strings.Join(refused, ","))
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("the node said:\n%s", p.Output())
			}
		})
		s := &story{t: t, dir: dir, bin: bin}
		s.until("the node is ready", func() bool { return strings.Contains(p.Output(), "toska ready ") })
		says(p.Output(), append(told, refused...), "setting=%s ")
		for _, want := range []string{"gateway=[::]:" + gateway, "discovery=[::]:" + discovery, "data=" + data} {
			if !strings.Contains(p.Output(), want) {
				t.Errorf("it does not say %s", want)
			}
		}
		s.node = &node.Node{Process: p}
		s.node.Addresses = map[string]string{"gateway": "127.0.0.1:" + gateway}
		if status, body := s.get("/svc/nobody/"); status != 404 || !strings.Contains(body, "no service of this name") {
			t.Errorf("below the prefix: %d %s", status, body)
		}
		if t.Failed() {
			t.Log(p.Output())
		}
	})
}

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
