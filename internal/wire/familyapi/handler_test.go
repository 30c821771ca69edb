package familyapi_test

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/internal/wire/familyapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"

	familyv1 "github.com/toska-mesh/toska-mesh/api/family/discovery/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const service = "/toskamesh.discovery.DiscoveryRegistry/"

type tokens struct{}

func (tokens) Verify(t string) (identity.Role, bool) { return identity.Service, t == "service-token" }

// recorder notes the registrations on their way to the registry.
type recorder struct {
	mesh.Discovery
	mu   sync.Mutex
	last mesh.Registration
}

func (r *recorder) Register(ctx context.Context, reg mesh.Registration) (mesh.Instance, error) {
	r.mu.Lock()
	r.last = reg
	r.mu.Unlock()
	return r.Discovery.Register(ctx, reg)
}

type node struct {
	registry *registry.Registry
	seen     *recorder
	addr     string
	conn     *grpc.ClientConn
}

func start(t *testing.T, l httpapi.Listener) *node {
	t.Helper()
	r, err := registry.New(registry.Config{NodeID: "node-1"}, memory.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	seen := &recorder{Discovery: r}
	mux := http.NewServeMux()
	familyapi.Mount(mux, seen, familyapi.Options{Liveness: r, Metadata: r, Log: log})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	ready := make(chan struct{})
	wg.Go(func() { _ = r.Run(ctx, func() { close(ready) }) })
	wg.Go(func() {
		_ = httpapi.NewServer(httpapi.Handler(mux, l, tokens{}, log), log).Serve(ctx, ln, time.Second)
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	<-ready
	conn, err := grpc.NewClient("passthrough:///"+ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &node{registry: r, seen: seen, addr: ln.Addr().String(), conn: conn}
}

func loopback() httpapi.Listener {
	return httpapi.Listener{Name: httpapi.ListenerDiscovery, Loopback: true}
}

func invoke[Res any](t *testing.T, n *node, method string, req any) (*Res, error) {
	t.Helper()
	res := new(Res)
	return res, n.conn.Invoke(t.Context(), service+method, req, res)
}

func register(t *testing.T, n *node, req *familyv1.RegisterServiceRequest) *familyv1.RegisterServiceResponse {
	t.Helper()
	res, err := invoke[familyv1.RegisterServiceResponse](t, n, "Register", req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func instances(t *testing.T, n *node, name string) []*familyv1.ServiceInstance {
	t.Helper()
	res, err := invoke[familyv1.GetInstancesResponse](t, n, "GetInstances", &familyv1.GetInstancesRequest{ServiceName: name})
	if err != nil {
		t.Fatal(err)
	}
	return res.GetInstances()
}

func TestRegisteredInstanceIsFoundWithoutCase(t *testing.T) {
	n := start(t, loopback())
	before := time.Now()
	res := register(t, n, &familyv1.RegisterServiceRequest{ServiceName: "My_Shop.v2", ServiceId: "shop-1",
		Address: "10.0.0.7", Port: 9000, Metadata: map[string]string{"weight": "2"}})
	if !res.GetSuccess() || res.GetServiceId() != "shop-1" || res.GetErrorMessage() != "" {
		t.Fatalf("got %v, want success", res)
	}
	list := instances(t, n, "my_shop.V2")
	if len(list) != 1 {
		t.Fatalf("got %d instances, want 1", len(list))
	}
	i := list[0]
	if i.GetServiceName() != "My_Shop.v2" || i.GetServiceId() != "shop-1" || i.GetAddress() != "10.0.0.7" || i.GetPort() != 9000 ||
		i.GetStatus() != familyv1.HealthStatus_HEALTH_STATUS_HEALTHY || i.GetMetadata()["weight"] != "2" {
		t.Errorf("got %v", i)
	}
	for what, at := range map[string]time.Time{"registeredAt": i.GetRegisteredAt().AsTime(), "lastHealthCheck": i.GetLastHealthCheck().AsTime()} {
		if at.Before(before.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
			t.Errorf("%s is %s, want now", what, at)
		}
	}
	if got := instances(t, n, "nobody"); len(got) != 0 {
		t.Errorf("an unknown service has %d instances, want none", len(got))
	}
}

func TestAddressIsTheCallersWhereItSaysNothing(t *testing.T) {
	n := start(t, loopback())
	for _, address := range []string{"", "localhost", "0.0.0.0", "::", "127.0.0.1"} {
		if res := register(t, n, &familyv1.RegisterServiceRequest{ServiceName: "s", ServiceId: "i", Address: address, Port: 1}); !res.GetSuccess() {
			t.Errorf("address %q: %s", address, res.GetErrorMessage())
			continue
		}
		if got := instances(t, n, "s")[0].GetAddress(); got != "127.0.0.1" && got != "localhost" {
			t.Errorf("address %q became %q, want the caller's", address, got)
		}
	}
}

func TestFailedRegistrationIsAnAnswerNotAnError(t *testing.T) {
	n := start(t, loopback())
	res := register(t, n, &familyv1.RegisterServiceRequest{ServiceName: "a b", ServiceId: "i", Port: 0})
	if res.GetSuccess() || !strings.Contains(res.GetErrorMessage(), "serviceName: ") || !strings.Contains(res.GetErrorMessage(), "port: ") {
		t.Errorf("got %v, want a failure that names serviceName and port", res)
	}
}

func TestEmptyIDBecomesAGUIDWithoutDashes(t *testing.T) {
	n := start(t, loopback())
	res := register(t, n, &familyv1.RegisterServiceRequest{ServiceName: "s", Port: 1})
	if !regexp.MustCompile(`^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$`).MatchString(res.GetServiceId()) {
		t.Errorf("id %q is no GUID without dashes", res.GetServiceId())
	}
}

func TestWishesAreBroughtIntoBounds(t *testing.T) {
	n := start(t, loopback())
	https := map[string]string{"scheme": "HTTPS"}
	tests := []struct {
		name     string
		check    *familyv1.HealthCheckConfig
		ttl      time.Duration
		want     *mesh.Check
		metadata map[string]string
	}{
		{"no check reports every 30 s", nil, 35 * time.Second, nil, nil},
		{"an interval below 5 s is 5 s", &familyv1.HealthCheckConfig{Endpoint: "/health", IntervalSeconds: 1},
			10 * time.Second, &mesh.Check{HTTP: "/health", Interval: 5 * time.Second, Timeout: time.Second, Down: 3}, nil},
		{"sane wishes are kept", &familyv1.HealthCheckConfig{Endpoint: "/h", IntervalSeconds: 60, TimeoutSeconds: 7, UnhealthyThreshold: 4},
			65 * time.Second, &mesh.Check{HTTP: "/h", Interval: time.Minute, Timeout: 7 * time.Second, Down: 4}, nil},
		{"negative wishes are the least", &familyv1.HealthCheckConfig{Endpoint: "h", IntervalSeconds: -1, TimeoutSeconds: -1, UnhealthyThreshold: -1},
			10 * time.Second, &mesh.Check{HTTP: "/h", Interval: 5 * time.Second, Timeout: time.Second, Down: 3}, nil},
		{"a whole URL is its path", &familyv1.HealthCheckConfig{Endpoint: "http://localhost:8080/health?deep=1", IntervalSeconds: 10},
			15 * time.Second, &mesh.Check{HTTP: "/health?deep=1", Interval: 10 * time.Second, Timeout: time.Second, Down: 3}, nil},
		{"the scheme of the metadata is that of the check", &familyv1.HealthCheckConfig{Endpoint: "/h", IntervalSeconds: 10},
			15 * time.Second, &mesh.Check{HTTP: "/h", TLS: true, Interval: 10 * time.Second, Timeout: time.Second, Down: 3}, https},
		{"the scheme of a whole URL comes first", &familyv1.HealthCheckConfig{Endpoint: "http://localhost/h", IntervalSeconds: 10},
			15 * time.Second, &mesh.Check{HTTP: "/h", Interval: 10 * time.Second, Timeout: time.Second, Down: 3}, https},
		{"a whole URL may want TLS", &familyv1.HealthCheckConfig{Endpoint: "https://localhost/h", IntervalSeconds: 10},
			15 * time.Second, &mesh.Check{HTTP: "/h", TLS: true, Interval: 10 * time.Second, Timeout: time.Second, Down: 3}, nil},
		{"without an endpoint nothing is probed", &familyv1.HealthCheckConfig{IntervalSeconds: 20}, 25 * time.Second, nil, https},
		{"an absurd interval still registers", &familyv1.HealthCheckConfig{IntervalSeconds: 1 << 30}, 12*time.Hour + 5*time.Second, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := register(t, n, &familyv1.RegisterServiceRequest{ServiceName: "s", ServiceId: "i", Port: 1, HealthCheck: tt.check, Metadata: tt.metadata})
			if !res.GetSuccess() {
				t.Fatal(res.GetErrorMessage())
			}
			n.seen.mu.Lock()
			got := n.seen.last
			n.seen.mu.Unlock()
			if diff := cmp.Diff(tt.want, got.Check); diff != "" {
				t.Errorf("check (-want +got):\n%s", diff)
			}
			if got.TTL != tt.ttl || got.Lifetime != mesh.Leased {
				t.Errorf("ttl %s, want %s", got.TTL, tt.ttl)
			}
		})
	}
}

func TestReportedHealth(t *testing.T) {
	n := start(t, loopback())
	register(t, n, &familyv1.RegisterServiceRequest{ServiceName: "s", ServiceId: "i", Port: 1})
	report := func(id string, s familyv1.HealthStatus) bool {
		res, err := invoke[familyv1.ReportHealthResponse](t, n, "ReportHealth", &familyv1.ReportHealthRequest{ServiceId: id, Status: s})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetSuccess()
	}
	for _, tt := range []struct {
		name           string
		reported, want familyv1.HealthStatus
	}{
		{"unhealthy", 2, 2}, {"unknown changes nothing", 0, 2}, {"degraded", 3, 3}, {"a later version's status changes nothing", 9, 3}, {"healthy", 1, 1},
	} {
		if !report("i", tt.reported) {
			t.Errorf("%s: no success", tt.name)
		}
		if got := instances(t, n, "s")[0].GetStatus(); got != tt.want {
			t.Errorf("%s: status %s, want %s", tt.name, got, tt.want)
		}
	}
	if report("nobody", 1) {
		t.Error("a report of an unknown id is a success")
	}
}

func TestDrainingIsOutOfRotationForTheFamily(t *testing.T) {
	n := start(t, loopback())
	register(t, n, &familyv1.RegisterServiceRequest{ServiceName: "s", ServiceId: "i", Port: 1})
	if err := n.registry.Drain(t.Context(), mesh.Ref{ID: "i"}); err != nil {
		t.Fatal(err)
	}
	if got := instances(t, n, "s")[0].GetStatus(); got != familyv1.HealthStatus_HEALTH_STATUS_DEGRADED {
		t.Errorf("status %s, want degraded", got)
	}
}

func TestServicesWithoutConsul(t *testing.T) {
	n := start(t, loopback())
	for _, name := range []string{"web", "Consul", "api", "consul-web"} {
		register(t, n, &familyv1.RegisterServiceRequest{ServiceName: name, Port: 1})
	}
	res, err := invoke[familyv1.GetServicesResponse](t, n, "GetServices", &familyv1.GetServicesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"api", "consul-web", "web"}, res.GetServiceNames()); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
}

func TestDeregisterTellsWhetherThereWasSomething(t *testing.T) {
	n := start(t, loopback())
	register(t, n, &familyv1.RegisterServiceRequest{ServiceName: "s", ServiceId: "i", Port: 1})
	for _, want := range []bool{true, false} {
		res, err := invoke[familyv1.DeregisterServiceResponse](t, n, "Deregister", &familyv1.DeregisterServiceRequest{ServiceId: "i"})
		if err != nil || res.GetRemoved() != want {
			t.Errorf("removed %v (%v), want %v", res.GetRemoved(), err, want)
		}
	}
}

func TestAnonymousCallersChangeOnlyWhatIsAnonymous(t *testing.T) {
	n := start(t, loopback())
	ctx := identity.NewContext(t.Context(), identity.Caller{Role: identity.Service})
	if _, err := n.registry.Register(ctx, mesh.Registration{Service: "s", ID: "theirs", Address: "10.0.0.7", Port: 1, Lifetime: mesh.Permanent}); err != nil {
		t.Fatal(err)
	}
	_, err := invoke[familyv1.DeregisterServiceResponse](t, n, "Deregister", &familyv1.DeregisterServiceRequest{ServiceId: "theirs"})
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("deregistering a service's instance: %v, want permission denied", err)
	}
	res := register(t, n, &familyv1.RegisterServiceRequest{ServiceName: "s", ServiceId: "theirs", Port: 2})
	if res.GetSuccess() {
		t.Error("an anonymous caller took a service's id")
	}
}

func TestWhoMayUseTheFamilysSurface(t *testing.T) {
	tests := []struct {
		name  string
		edit  func(*httpapi.Listener)
		token string
		want  codes.Code
	}{
		{"anyone on loopback", func(*httpapi.Listener) {}, "", codes.OK},
		{"nobody without a token beyond it", func(l *httpapi.Listener) { l.Loopback = false }, "", codes.Unauthenticated},
		{"a service with its token", func(l *httpapi.Listener) { l.Loopback = false }, "service-token", codes.OK},
		{"nobody with a wrong token, on loopback too", func(*httpapi.Listener) {}, "guess", codes.Unauthenticated},
		{"anyone where that is configured", func(l *httpapi.Listener) { l.Loopback, l.AnonymousFamily = false, true }, "", codes.OK},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := loopback()
			tt.edit(&l)
			n := start(t, l)
			ctx := t.Context()
			if tt.token != "" {
				ctx = withToken(ctx, tt.token)
			}
			err := n.conn.Invoke(ctx, service+"GetServices", &familyv1.GetServicesRequest{}, &familyv1.GetServicesResponse{})
			if status.Code(err) != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestUnknownTimesAreTheYearOne(t *testing.T) {
	n := start(t, loopback())
	mux := http.NewServeMux()
	familyapi.Mount(mux, timeless{n.registry}, familyapi.Options{})
	l := loopback()
	body := call(t, httpapi.Handler(mux, l, tokens{}, slog.New(slog.DiscardHandler)), "GetInstances", protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "s"))
	// registeredAt is field 7, lastHealthCheck field 8, each a message whose field 1 is -62135596800.
	want := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), ^uint64(62135596800)+1)
	for _, field := range []protowire.Number{7, 8} {
		if !strings.Contains(string(body), string(protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), want))) {
			t.Errorf("field %d is not the year 1 in %x", field, body)
		}
	}
}

// timeless hands out one instance of which no time is known.
type timeless struct{ mesh.Discovery }

func (timeless) Snapshot(context.Context) (*mesh.Snapshot, error) {
	return &mesh.Snapshot{Services: map[string][]*mesh.Instance{"s": {{ID: "i", Service: "s", Address: "10.0.0.7", Port: 1}}}}, nil
}

func TestFieldNumbersAreTheContract(t *testing.T) {
	n := start(t, loopback())
	str := func(b []byte, f protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, f, protowire.BytesType), s)
	}
	num := func(b []byte, f protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, f, protowire.VarintType), v)
	}
	check := num(num(num(str(nil, 1, "/healthz"), 2, 9), 3, 2), 4, 5)
	req := num(str(str(str(nil, 1, "orders"), 2, "o-1"), 3, "10.0.0.7"), 4, 9000)
	req = str(req, 5, string(str(str(nil, 1, "weight"), 2, "7")))
	req = str(req, 6, string(check))
	if got, want := n.raw(t, "Register", req), str(num(nil, 1, 1), 2, "o-1"); string(got) != string(want) {
		t.Errorf("Register answered %x, want %x", got, want)
	}
	n.seen.mu.Lock()
	reg := n.seen.last
	n.seen.mu.Unlock()
	want := mesh.Registration{Service: "orders", ID: "o-1", Address: "10.0.0.7", Port: 9000, Lifetime: mesh.Leased,
		Metadata: map[string]string{"weight": "7"}, TTL: 14 * time.Second,
		Check: &mesh.Check{HTTP: "/healthz", Interval: 9 * time.Second, Timeout: 2 * time.Second, Down: 5}}
	if diff := cmp.Diff(want, reg); diff != "" {
		t.Errorf("registration (-want +got):\n%s", diff)
	}
	if got, want := n.raw(t, "GetServices", nil), str(nil, 1, "orders"); string(got) != string(want) {
		t.Errorf("GetServices answered %x, want %x", got, want)
	}
	if got, want := n.raw(t, "ReportHealth", str(num(str(nil, 1, "o-1"), 2, 3), 3, "slow")), num(nil, 1, 1); string(got) != string(want) {
		t.Errorf("ReportHealth answered %x, want %x", got, want)
	}
	list := n.raw(t, "GetInstances", str(nil, 1, "ORDERS"))
	if part := num(num(str(str(str(nil, 1, "orders"), 2, "o-1"), 3, "10.0.0.7"), 4, 9000), 5, 3); !strings.Contains(string(list), string(part)) {
		t.Errorf("GetInstances answered %x, want %x in it", list, part)
	}
	if got, want := n.raw(t, "Deregister", str(nil, 1, "o-1")), num(nil, 1, 1); string(got) != string(want) {
		t.Errorf("Deregister answered %x, want %x", got, want)
	}
}

// raw sends the bytes of a message as a gRPC request of its own making and returns those of the answer.
func (n *node) raw(t *testing.T, method string, msg []byte) []byte {
	t.Helper()
	hc := httpapi.NewClient("")
	defer hc.CloseIdleConnections()
	r := request(t, "http://"+n.addr+service+method, msg)
	res, err := hc.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := res.Trailer.Get("Grpc-Status"); got != "0" || len(b) < 5 {
		t.Fatalf("%s: grpc-status %q, %d bytes", method, got, len(b))
	}
	return b[5:]
}

func TestHealthAndReflection(t *testing.T) {
	n := start(t, loopback())
	for _, name := range []string{"", "toskamesh.discovery.DiscoveryRegistry"} {
		res, err := healthpb.NewHealthClient(n.conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: name})
		if err != nil || res.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v", name, res, err)
		}
	}
	if _, err := healthpb.NewHealthClient(n.conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "nobody"}); status.Code(err) != codes.NotFound {
		t.Errorf("health of an unknown service: %v, want not found", err)
	}
	stream, err := reflectpb.NewServerReflectionClient(n.conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, req := range []*reflectpb.ServerReflectionRequest{
		{MessageRequest: &reflectpb.ServerReflectionRequest_ListServices{}},
		{MessageRequest: &reflectpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "toskamesh.discovery.DiscoveryRegistry"}},
	} {
		if err := stream.Send(req); err != nil {
			t.Fatal(err)
		}
		res, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(res.String(), "DiscoveryRegistry") || res.GetErrorResponse() != nil {
			t.Errorf("reflection: %v", res)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
}

func TestUnknownMethodIsUnimplemented(t *testing.T) {
	n := start(t, loopback())
	for _, method := range []string{service + "Nothing", "/toskamesh.other.Service/Do"} {
		err := n.conn.Invoke(t.Context(), method, &familyv1.GetServicesRequest{}, &familyv1.GetServicesResponse{})
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v, want unimplemented", method, err)
		}
	}
}

func envelope(msg []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(msg))), msg...)
}
