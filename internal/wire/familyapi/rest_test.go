package familyapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/internal/wire/familyapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// envelopeDoc is an ApiResponse as a client reads it.
type envelopeDoc struct {
	Success   bool
	Data      json.RawMessage
	Message   *string
	Errors    []string
	Timestamp time.Time
	TraceID   *string
}

type instanceDoc struct {
	ServiceName, ServiceID, Address string
	Port, Status                    int
	Metadata                        map[string]string
	RegisteredAt, LastHealthCheck   time.Time
}

// rest sends a request as a client would write it by hand.
func (n *node) rest(t *testing.T, method, path, body string, fields ...string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

func decode[T any](t *testing.T, body string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return v
}

// data checks that an answer is a success and returns what it holds.
func data[T any](t *testing.T, status int, body string) T {
	t.Helper()
	e := decode[envelopeDoc](t, body)
	if status != http.StatusOK || !e.Success {
		t.Fatalf("%d %s, want a success", status, body)
	}
	return decode[T](t, string(e.Data))
}

const (
	orders1 = `{"serviceName":"Orders","serviceId":"o-1","address":"10.0.0.7","port":9000,"metadata":{"zone":"a","weight":"2"}}`
	orders2 = `{"serviceName":"Orders","serviceId":"o-2","address":"10.0.0.8","port":9000,"metadata":{"zone":"b","weight":"2"}}`
)

// fill registers two instances of orders, the second of them unhealthy.
func fill(t *testing.T, n *node) {
	t.Helper()
	for _, s := range []struct{ path, body string }{
		{"/register", orders1}, {"/register", orders2}, {"/health/o-2", `{"status":2,"output":"down"}`},
	} {
		if status, _, body := n.rest(t, "POST", "/api/ServiceRegistration"+s.path, s.body); status != http.StatusOK {
			t.Fatalf("%s: %d %s", s.path, status, body)
		}
	}
}

// One row for each row of the family's two tables, with each of the codes that it names.
func TestEveryRowOfTheRESTSurface(t *testing.T) {
	const disco, reg = "/api/ServiceDiscovery", "/api/ServiceRegistration"
	// ids leaves of a list of instances what the rows are about.
	ids := func(t *testing.T, raw json.RawMessage) string {
		t.Helper()
		var out []string
		for _, i := range decode[[]instanceDoc](t, string(raw)) {
			out = append(out, fmt.Sprintf("%s=%d", i.ServiceID, i.Status))
		}
		return strings.Join(out, " ")
	}
	one := func(t *testing.T, raw json.RawMessage) string {
		t.Helper()
		i := decode[instanceDoc](t, string(raw))
		return fmt.Sprintf("%s %s %s:%d %d %v", i.ServiceName, i.ServiceID, i.Address, i.Port, i.Status, i.Metadata)
	}
	verbatim := func(_ *testing.T, raw json.RawMessage) string { return string(raw) }
	keys := func(t *testing.T, raw json.RawMessage) string {
		t.Helper()
		s := decode[struct {
			ServiceName   string
			InstanceCount int
			GeneratedAt   time.Time
			Keys          json.RawMessage
		}](t, string(raw))
		if time.Since(s.GeneratedAt) > time.Minute {
			t.Errorf("generatedAt is %v", s.GeneratedAt)
		}
		return fmt.Sprintf("%s %d %s", s.ServiceName, s.InstanceCount, s.Keys)
	}
	tests := []struct {
		method, path, body string
		status             int
		read               func(*testing.T, json.RawMessage) string
		want               string
	}{
		{"GET", disco + "/services", "", 200, verbatim, `["Orders"]`},
		{"GET", disco + "/services/orders/instances", "", 200, ids, "o-1=1 o-2=2"},
		{"GET", disco + "/services/nobody/instances", "", 200, verbatim, "[]"},
		{"GET", disco + "/services/orders/instances/healthy", "", 200, ids, "o-1=1"},
		{"GET", disco + "/services/nobody/instances/healthy", "", 200, verbatim, "[]"},
		{"GET", disco + "/services/orders/metadata", "", 200, keys, `Orders 2 [{"key":"weight","instanceCount":2,"values":["2"]},` +
			`{"key":"zone","instanceCount":2,"values":["a","b"]}]`},
		{"GET", disco + "/services/nobody/metadata", "", 200, keys, "nobody 0 []"},
		{"GET", disco + "/instances/o-1", "", 200, one, "Orders o-1 10.0.0.7:9000 1 map[weight:2 zone:a]"},
		{"GET", disco + "/instances/o-9", "", 404, verbatim, "null"},
		{"POST", reg + "/register", `{"serviceName":"Web","serviceId":"w-1","address":"10.0.0.9","port":80,"metadata":{}}`, 200, one,
			"Web w-1 10.0.0.9:80 1 map[]"},
		{"POST", reg + "/register", `{"serviceName":"Web","serviceId":"w-1","address":"10.0.0.9","port":0}`, 400, verbatim, "null"},
		{"POST", reg + "/deregister/o-2", "", 200, verbatim, "null"},
		{"POST", reg + "/deregister/o-9", "", 404, verbatim, "null"},
		{"POST", reg + "/health/o-2", `{"status":3}`, 200, verbatim, "null"},
		{"POST", reg + "/health/o-9", `{"status":1,"output":"fine"}`, 404, verbatim, "null"},
		{"POST", reg + "/metadata/o-1", `{"metadata":{"zone":"c"}}`, 200, verbatim, "null"},
		{"POST", reg + "/metadata/o-1", `{"metadata":{"":"c"}}`, 400, verbatim, "null"},
		{"POST", reg + "/metadata/o-9", `{"metadata":{"zone":"c"}}`, 404, verbatim, "null"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.method, " ", tt.path, " ", tt.status), func(t *testing.T) {
			n := start(t, loopback())
			fill(t, n)
			status, header, body := n.rest(t, tt.method, tt.path, tt.body)
			if status != tt.status {
				t.Fatalf("%d %s, want %d", status, body, tt.status)
			}
			if got := header.Get("Content-Type"); got != "application/json; charset=utf-8" {
				t.Errorf("Content-Type is %q", got)
			}
			e := decode[envelopeDoc](t, body)
			if e.Success != (tt.status == 200) || time.Since(e.Timestamp) > time.Minute || !strings.Contains(body, `"errors":`) {
				t.Errorf("envelope %s", body)
			}
			if tt.status != 200 && (e.Message == nil || *e.Message == "" || e.TraceID == nil) {
				t.Errorf("the failure has no message or trace id: %s", body)
			}
			if got := tt.read(t, e.Data); got != tt.want {
				t.Errorf("data is %s, want %s", got, tt.want)
			}
			// The same path in another case is the same.
			again, _, _ := n.rest(t, tt.method, strings.NewReplacer("/api/Service", "/API/serVICE", "/instances", "/Instances",
				"/register", "/REGISTER", "/metadata", "/Metadata", "/health/", "/HEALTH/", "/services", "/SERVICES").Replace(tt.path), tt.body)
			if want := tt.status; again != want && tt.path != reg+"/deregister/o-2" {
				t.Errorf("in another case: %d, want %d", again, want)
			}
		})
	}
}

func TestPathsThatAreNotThereYet(t *testing.T) {
	n := start(t, loopback())
	fill(t, n)
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/api/ServiceDiscovery/services/orders/instances/tracking", 404},
		{"GET", "/api/ServiceDiscovery/instances/o-1/tracking", 404},
		{"POST", "/api/ServiceRegistration/health/check/o-1", 404},
		{"POST", "/api/ServiceDiscovery/services", 405},
	} {
		if status, _, body := n.rest(t, tt.method, tt.path, ""); status != tt.want {
			t.Errorf("%s %s: %d %s, want %d", tt.method, tt.path, status, body, tt.want)
		}
	}
}

func TestRESTRegistrationKeepsTheBoundsOfTheFamily(t *testing.T) {
	tests := []struct {
		name, check string
		want        *mesh.Check
		ttl         time.Duration
	}{
		{"no check", "", nil, 35 * time.Second},
		{"null for a check", `,"healthCheck":null`, nil, 35 * time.Second},
		{"everything too small", `,"healthCheck":{"endpoint":"health","interval":"00:00:01","timeout":"00:00:00.1","unhealthyThreshold":0}`,
			&mesh.Check{HTTP: "/health", Interval: 5 * time.Second, Timeout: time.Second, Down: 3}, 10 * time.Second},
		{"within bounds", `,"healthCheck":{"endpoint":"/up","interval":"00:01:00","timeout":"00:00:09","unhealthyThreshold":"7"}`,
			&mesh.Check{HTTP: "/up", Interval: time.Minute, Timeout: 9 * time.Second, Down: 7}, 65 * time.Second},
		{"far too long", `,"healthCheck":{"endpoint":"/up","interval":"9999999.00:00:00","timeout":"00:00:09"}`,
			&mesh.Check{HTTP: "/up", Interval: 12 * time.Hour, Timeout: 9 * time.Second, Down: 3}, 12*time.Hour + 5*time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := start(t, loopback())
			status, _, body := n.rest(t, "POST", "/api/ServiceRegistration/register",
				`{"SERVICENAME":"web","serviceId":"w-1","address":"10.0.0.7","port":"9000","unknown":[1]`+tt.check+`}`)
			data[instanceDoc](t, status, body)
			n.seen.mu.Lock()
			got := n.seen.last
			n.seen.mu.Unlock()
			want := mesh.Registration{Service: "web", ID: "w-1", Address: "10.0.0.7", Port: 9000, Lifetime: mesh.Leased, TTL: tt.ttl, Check: tt.want}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("registration (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRESTRegistrationTakesTheCallersAddressAndMakesAnID(t *testing.T) {
	n := start(t, loopback())
	status, _, body := n.rest(t, "POST", "/api/ServiceRegistration/register", `{"serviceName":"web","address":"0.0.0.0","port":9000}`)
	i := data[instanceDoc](t, status, body)
	if i.Address != "127.0.0.1" || len(i.ServiceID) != 32 || i.LastHealthCheck.IsZero() {
		t.Errorf("got %s", body)
	}
}

func TestStatusesAreNumbersOrNames(t *testing.T) {
	n := start(t, loopback())
	fill(t, n)
	for _, tt := range []struct {
		status string
		code   int
		want   int
	}{
		{"2", 200, 2}, {`"Healthy"`, 200, 1}, {`"degraded"`, 200, 3}, {`"2"`, 200, 2},
		{"0", 200, 2}, {"null", 200, 2}, {`"Unknown"`, 200, 2},
		{"9", 400, 2}, {`"9"`, 400, 2}, {"-1", 400, 2}, {`"well"`, 400, 2}, {"1.5", 400, 2}, {"[]", 400, 2},
	} {
		status, _, body := n.rest(t, "POST", "/api/ServiceRegistration/health/o-1", `{"status":`+tt.status+`}`)
		if status != tt.code {
			t.Errorf("status %s: %d %s, want %d", tt.status, status, body, tt.code)
		}
		got, _, doc := n.rest(t, "GET", "/api/ServiceDiscovery/instances/o-1", "")
		if i := data[instanceDoc](t, got, doc); i.Status != tt.want {
			t.Errorf("after status %s it is %d, want %d", tt.status, i.Status, tt.want)
		}
	}
}

func TestMetadataPostedIsKept(t *testing.T) {
	n := start(t, loopback())
	fill(t, n)
	before := n.registry.Stats().Revision
	status, _, body := n.rest(t, "POST", "/api/ServiceRegistration/metadata/o-1", `{"metadata":{"zone":"c","team":"x"}}`)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	i, err := n.registry.Instance(t.Context(), "o-1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"zone": "c", "team": "x", "weight": "2"}, i.Metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if !before.Before(i.Revision) {
		t.Errorf("revision %s is not after %s", i.Revision, before)
	}
}

func TestWhatCannotBeReadHasTheShapeOfAFailedValidation(t *testing.T) {
	n := start(t, loopback())
	fill(t, n)
	const register, metadata = "/register", "/metadata/o-1"
	tests := []struct {
		name, path, body, contentType string
		status                        int
		field                         string
	}{
		{"no body", register, "", "application/json", 400, ""},
		{"no JSON", register, "{", "application/json", 400, "$"},
		{"a list", register, "[]", "application/json", 400, "$"},
		{"two values", register, `{"serviceName":"web","port":1} {}`, "application/json", 400, "$"},
		{"null", register, "null", "application/json", 400, "ServiceName"},
		{"no name", register, `{"port":1}`, "application/json", 400, "ServiceName"},
		{"a number for a name", register, `{"serviceName":1,"port":1}`, "application/json", 400, "$.serviceName"},
		{"a word for a port", register, `{"serviceName":"web","port":"http"}`, "application/json", 400, "$.port"},
		{"a port beyond numbers", register, `{"serviceName":"web","port":99999999999}`, "application/json", 400, "$.port"},
		{"seconds for a time span", register, `{"serviceName":"web","port":1,"healthCheck":{"interval":30}}`, "application/json", 400, "$.healthCheck.interval"},
		{"an empty time span", register, `{"serviceName":"web","port":1,"healthCheck":{"timeout":""}}`, "application/json", 400, "$.healthCheck.timeout"},
		{"a number in the metadata", register, `{"serviceName":"web","port":1,"metadata":{"a":1}}`, "application/json", 400, "$.metadata"},
		{"a null in the metadata", metadata, `{"metadata":{"a":null}}`, "application/json", 400, `$.metadata["a"]`},
		{"no metadata", metadata, `{}`, "application/json", 400, "Metadata"},
		{"another media type", register, `serviceName=web`, "application/x-www-form-urlencoded", 415, ""},
		{"N-16 a body without end", register, `{"serviceName":"` + strings.Repeat("x", httpapi.MaxBody) + `"}`, "application/json", 413, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, header, body := n.rest(t, "POST", "/api/ServiceRegistration"+tt.path, tt.body, "Content-Type", tt.contentType)
			if status != tt.status || header.Get("Content-Type") != "application/problem+json; charset=utf-8" {
				t.Fatalf("%d %s %s, want %d", status, header.Get("Content-Type"), body, tt.status)
			}
			p := decode[struct {
				Type, Title, TraceID string
				Status               int
				Errors               map[string][]string
			}](t, body)
			if p.Type == "" || p.Title == "" || p.TraceID == "" || p.Status != tt.status {
				t.Errorf("got %s", body)
			}
			if len(p.Errors[tt.field]) == 0 && tt.status == 400 {
				t.Errorf("errors %v, want %q among them", p.Errors, tt.field)
			}
		})
	}
}

func TestWhatTheRegistryRefusesIsInTheEnvelope(t *testing.T) {
	n := start(t, loopback())
	status, _, body := n.rest(t, "POST", "/api/ServiceRegistration/register",
		`{"serviceName":"my shop","serviceId":"a/b","address":"10.0.0.7:80","port":70000,"healthCheck":{"endpoint":"/a b"}}`)
	e := decode[envelopeDoc](t, body)
	if status != http.StatusBadRequest || e.Message == nil || *e.Message != strings.Join(e.Errors, "; ") {
		t.Fatalf("%d %s", status, body)
	}
	for i, field := range []string{"serviceName: ", "serviceId: ", "address: ", "port: ", "healthCheck.endpoint: "} {
		if i >= len(e.Errors) || !strings.HasPrefix(e.Errors[i], field) {
			t.Errorf("errors %q, want one that begins with %q", e.Errors, field)
		}
	}
}

func TestErrorsOfTheRESTSurface(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		status int
		say    string
	}{
		{"an argument", &mesh.Error{Kind: mesh.ErrInvalid, Detail: "wrong"}, 400, "wrong"},
		{"unauthorized", &mesh.Error{Kind: mesh.ErrUnauthenticated, Detail: "who"}, 401, "who"},
		{"not allowed", &mesh.Error{Kind: mesh.ErrForbidden, Detail: "no"}, 403, "no"},
		{"a key that is not found", &mesh.Error{Kind: mesh.ErrNotFound, Detail: "gone"}, 404, "gone"},
		{"an operation out of turn", &mesh.Error{Kind: mesh.ErrConflict, Detail: "taken"}, 409, "taken"},
		{"an older incarnation", &mesh.Error{Kind: mesh.ErrStale, Detail: "old"}, 409, "old"},
		{"a store that is away", &mesh.Error{Kind: mesh.ErrUnavailable, Detail: "later"}, 503, "later"},
		{"anything else", fmt.Errorf("disk /dev/sda is on fire"), 500, "its log has the rest"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mux := http.NewServeMux()
			familyapi.Mount(mux, broken{err: tt.err}, familyapi.Options{})
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/api/ServiceDiscovery/services", nil)
			r.Host = "127.0.0.1:8080"
			w := httptest.NewRecorder()
			httpapi.Handler(mux, loopback(), tokens{}, slog.New(slog.DiscardHandler)).ServeHTTP(w, r)
			e := decode[envelopeDoc](t, w.Body.String())
			if w.Code != tt.status || e.Success || e.Message == nil || !strings.Contains(*e.Message, tt.say) || strings.Contains(w.Body.String(), "fire") {
				t.Errorf("%d %s, want %d with %q", w.Code, w.Body, tt.status, tt.say)
			}
		})
	}
}

// broken answers every question with its error.
type broken struct {
	mesh.Discovery
	err error
}

func (b broken) Snapshot(context.Context) (*mesh.Snapshot, error) { return nil, b.err }

func TestUnknownTimesAreTheYearOneInJSON(t *testing.T) {
	mux := http.NewServeMux()
	familyapi.Mount(mux, timeless{}, familyapi.Options{})
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/api/ServiceDiscovery/services/s/instances", nil)
	r.Host = "127.0.0.1:8080"
	w := httptest.NewRecorder()
	httpapi.Handler(mux, loopback(), tokens{}, slog.New(slog.DiscardHandler)).ServeHTTP(w, r)
	if !strings.Contains(w.Body.String(), `"metadata":{},"registeredAt":"0001-01-01T00:00:00Z","lastHealthCheck":"0001-01-01T00:00:00Z"}`) {
		t.Errorf("got %s", w.Body)
	}
}

func TestWhoMayUseTheRESTSurface(t *testing.T) {
	tests := []struct {
		name                   string
		edit                   func(*httpapi.Listener)
		token                  string
		read, change, register int
	}{
		{"anyone on loopback, but for what others registered", func(*httpapi.Listener) {}, "", 200, 403, 200},
		{"nobody without a token beyond it", func(l *httpapi.Listener) { l.Loopback = false }, "", 401, 401, 401},
		{"a service with its token", func(l *httpapi.Listener) { l.Loopback = false }, "service-token", 200, 200, 200},
		{"nobody with a wrong token", func(*httpapi.Listener) {}, "guess", 401, 401, 401},
		{"anyone where that is configured", func(l *httpapi.Listener) { l.Loopback, l.AnonymousFamily = false, true }, "", 200, 403, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := loopback()
			tt.edit(&l)
			n := start(t, l)
			ctx := identity.NewContext(t.Context(), identity.Caller{Role: identity.Service})
			if _, err := n.registry.Register(ctx, mesh.Registration{Service: "s", ID: "theirs", Address: "10.0.0.7", Port: 1, Lifetime: mesh.Permanent}); err != nil {
				t.Fatal(err)
			}
			var fields []string
			if tt.token != "" {
				fields = []string{"Authorization", "Bearer " + tt.token}
			}
			const reg = "/api/ServiceRegistration"
			for _, c := range []struct {
				method, path, body string
				want               int
			}{
				{"GET", "/api/ServiceDiscovery/services", "", tt.read},
				{"POST", reg + "/register", `{"serviceName":"s","serviceId":"mine","address":"10.0.0.8","port":1}`, tt.register},
				{"POST", reg + "/register", `{"serviceName":"s","serviceId":"theirs","address":"10.0.0.8","port":1}`, tt.change},
				{"POST", reg + "/health/theirs", `{"status":2}`, tt.change},
				{"POST", reg + "/metadata/theirs", `{"metadata":{"a":"b"}}`, tt.change},
				{"POST", reg + "/deregister/theirs", "", tt.change},
			} {
				status, _, body := n.rest(t, c.method, c.path, c.body, fields...)
				if status != c.want {
					t.Errorf("%s %s: %d %s, want %d", c.method, c.path, status, body, c.want)
				}
				if tt.token != "guess" && decode[envelopeDoc](t, body).Success != (c.want == 200) {
					t.Errorf("%s %s is not in the envelope: %s", c.method, c.path, body)
				}
			}
		})
	}
}
