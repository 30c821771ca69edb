package discoveryapi_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// do sends a request with the service token and returns status, fields and body of the answer.
func (n *node) do(t *testing.T, method, path, body string, fields ...string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, n.url(path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+serviceToken)
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

type instanceDoc struct {
	ID, Service, Address, Health, Registrar, Revision string
	Port                                              int
	Incarnation                                       uint64
	Draining                                          bool
	Metadata                                          map[string]string
	Check                                             *struct {
		HTTP, Interval string
		TLS            bool
		Port, Up       int
	}
	HealthBy string
	Evidence []struct{ Source, Health, Output, At string }
}

func TestRESTTellsAnInstancesLife(t *testing.T) {
	n := start(t)
	if status, _, body := n.do(t, "POST", "/api/v1/instances", `{"service":"Orders","id":"o-1","port":1}`); status != http.StatusCreated {
		t.Fatalf("register: %d %s", status, body)
	}
	status, fields, body := n.do(t, "POST", "/api/v1/instances", `{"service":"Orders","id":"o-1","address":"10.0.0.7","port":9000,
		"metadata":{"weight":"2"},"check":{"http":"/healthz","interval":"5s","tls":true,"port":9001,"up":4},"lifetime":"leased","ttl":"1m"}`)
	if status != http.StatusCreated || fields.Get("Location") != "/api/v1/instances/o-1" {
		t.Fatalf("register: %d, Location %q, %s", status, fields.Get("Location"), body)
	}
	got := decode[instanceDoc](t, body)
	if got.Service != "Orders" || got.Health != "passing" || got.Registrar != "service" || got.Metadata["weight"] != "2" ||
		got.Check == nil || got.Check.HTTP != "/healthz" || got.Check.Interval != "5s" ||
		!got.Check.TLS || got.Check.Port != 9001 || got.Check.Up != 4 || got.HealthBy != "" || got.Evidence != nil {
		t.Errorf("registered %s", body)
	}
	steps := []struct {
		method, path, body string
		want               int
	}{
		{"POST", "/api/v1/instances/o-1/renew", "", http.StatusNoContent},
		{"POST", "/api/v1/instances/o-1/renew?incarnation=1", "", http.StatusConflict},
		{"POST", "/api/v1/instances/o-1/report", `{"health":"degraded","output":"slow"}`, http.StatusNoContent},
		{"POST", "/api/v1/instances/o-1/report", `{"health":"suspect"}`, http.StatusUnprocessableEntity},
		{"POST", "/api/v1/instances/o-1/drain", "", http.StatusNoContent},
		{"GET", "/api/v1/services/orders", "", http.StatusOK},
		{"GET", "/api/v1/services/nobody", "", http.StatusNotFound},
		{"DELETE", "/api/v1/instances/o-1", "", http.StatusNoContent},
		{"DELETE", "/api/v1/instances/o-1", "", http.StatusNotFound},
		{"GET", "/api/v1/instances/o-1", "", http.StatusNotFound},
	}
	for _, s := range steps {
		if status, _, body := n.do(t, s.method, s.path, s.body); status != s.want {
			t.Errorf("%s %s: %d, want %d: %s", s.method, s.path, status, s.want, body)
		}
		if s.path == "/api/v1/instances/o-1/drain" {
			_, _, body := n.do(t, "GET", "/api/v1/instances/o-1", "")
			if i := decode[instanceDoc](t, body); i.Health != "degraded" || !i.Draining || i.HealthBy != "report" || len(i.Evidence) != 1 ||
				i.Evidence[0].Source != "report" || i.Evidence[0].Health != "degraded" || i.Evidence[0].Output != "slow" || i.Evidence[0].At == "" {
				t.Errorf("after report and drain: %s", body)
			}
			_, _, body = n.do(t, "GET", "/api/v1/services", "")
			if !strings.Contains(body, `"services":[{"service":"Orders","instances":1,"passing":0}]`) {
				t.Errorf("services: %s", body)
			}
			_, _, body = n.do(t, "GET", "/api/v1/instances", "")
			if !strings.Contains(body, `"id":"o-1"`) {
				t.Errorf("instances: %s", body)
			}
		}
	}
}

func TestRESTNamesEachWrongField(t *testing.T) {
	n := start(t)
	tests := []struct {
		name, body string
		status     int
		code       string
		want       []string
	}{
		{"an empty name", `{"service":"","port":1}`, 422, mesh.CodeInvalid, []string{"service"}},
		{"a name that is no DNS label", `{"service":"my_shop","port":1}`, 422, mesh.CodeInvalid, []string{"service"}},
		{"port 0", `{"service":"web","port":0}`, 422, mesh.CodeInvalid, []string{"port"}},
		{"port 70000", `{"service":"web","port":70000}`, 422, mesh.CodeInvalid, []string{"port"}},
		{"no port and no name", `{}`, 422, mesh.CodeInvalid, []string{"port", "service"}},
		{"a bad address", `{"service":"web","port":1,"address":"10.0.0.256"}`, 422, mesh.CodeInvalid, []string{"address"}},
		{"an unknown field", `{"service":"web","port":1,"colour":"red"}`, 422, mesh.CodeInvalid, []string{"colour"}},
		{"an unknown field inside", `{"service":"web","port":1,"check":{"grpc":true}}`, 422, mesh.CodeInvalid, []string{"check.grpc"}},
		{"a port in words", `{"service":"web","port":"http"}`, 422, mesh.CodeInvalid, []string{"port"}},
		{"a port to probe that is none, over TLS without a path", `{"service":"web","port":1,"check":{"port":70000,"tls":true}}`, 422, mesh.CodeInvalid, []string{"check.port", "check.tls"}},
		{"a duration in words", `{"service":"web","port":1,"ttl":"soon","check":{"interval":"often"}}`, 422, mesh.CodeInvalid, []string{"check.interval", "ttl"}},
		{"a lifetime that there is not", `{"service":"web","port":1,"lifetime":"held"}`, 422, mesh.CodeInvalid, []string{"lifetime"}},
		{"65 KiB of metadata", `{"service":"web","port":1,"metadata":{"k":"` + strings.Repeat("x", 65<<10) + `"}}`, 422, mesh.CodeInvalid, []string{"metadata"}},
		{"several at once", `{"service":"-","port":-1,"address":"a b","colour":1}`, 422, mesh.CodeInvalid, []string{"address", "colour", "port", "service"}},
		{"no JSON", `{"service":`, 400, mesh.CodeInvalid, []string{"body"}},
		{"N-16 more than a megabyte", `{"service":"` + strings.Repeat("x", 1<<20) + `"}`, 413, mesh.CodeTooLarge, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, fields, body := n.do(t, "POST", "/api/v1/instances", tt.body)
			type problem struct {
				Status                              int
				Code, Detail, RequestID, Title, URL string
				Errors                              []struct{ Field, Problem string }
			}
			p := decode[problem](t, body)
			if status != tt.status || p.Status != tt.status || p.Code != tt.code {
				t.Errorf("status %d and code %s, want %d and %s: %s", status, p.Code, tt.status, tt.code, body)
			}
			if got := fields.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type %q", got)
			}
			if !strings.Contains(body, `"request_id":"`+fields.Get("X-Request-Id")+`"`) ||
				!strings.Contains(body, `"doc_url":"/docs/errors/`+tt.code+`"`) {
				t.Errorf("no request id or page in %s", body)
			}
			var got []string
			for _, e := range p.Errors {
				got = append(got, e.Field)
				if e.Problem == "" {
					t.Errorf("no problem with %s", e.Field)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("wrong fields (-want +got):\n%s in %s", diff, body)
			}
		})
	}
	if s := n.registry.Stats(); s.Instances != 0 {
		t.Errorf("%d instances were registered", s.Instances)
	}
}

func TestRESTWritesNeedATokenAndUnknownQueriesAreNamed(t *testing.T) {
	n := start(t)
	if status, _, body := n.do(t, "POST", "/api/v1/instances", `{}`, "Authorization", ""); status != http.StatusUnauthorized {
		t.Errorf("with an empty Authorization: %d %s, want 401", status, body)
	}
	if status, _, body := n.do(t, "GET", "/api/v1/watch?sinec=1.1", ""); status != http.StatusUnprocessableEntity || !strings.Contains(body, `"field":"sinec"`) {
		t.Errorf("unknown query: %d %s, want 422 naming it", status, body)
	}
	if status, _, body := n.do(t, "GET", "/api/v1/watch?since=yesterday", ""); status != http.StatusUnprocessableEntity || !strings.Contains(body, `"field":"since"`) {
		t.Errorf("bad revision: %d %s, want 422 naming since", status, body)
	}
}

type changeDoc struct {
	Revision string
	Full     bool
	Services []struct {
		Service   string
		Instances []instanceDoc
	}
}

func TestLongPollWaitsForANewerRevision(t *testing.T) {
	n := start(t)
	if _, err := n.client(t, serviceToken).Register(t.Context(), web("w0")); err != nil {
		t.Fatal(err)
	}
	status, _, body := n.do(t, "GET", "/api/v1/watch", "")
	first := decode[changeDoc](t, body)
	if status != http.StatusOK || len(first.Services) != 1 || !first.Full {
		t.Fatalf("without since: %d %s", status, body)
	}
	if status, _, body := n.do(t, "GET", "/api/v1/watch?wait=10ms&since="+first.Revision, ""); status != http.StatusNotModified || body != "" {
		t.Errorf("nothing newer: %d %s, want 304 and nothing", status, body)
	}
	answer := make(chan changeDoc, 1)
	go func() {
		_, _, body := n.do(t, "GET", "/api/v1/watch?wait=10s&service=WEB&since="+first.Revision, "")
		answer <- decode[changeDoc](t, body)
	}()
	other := web("o0")
	other.Service = "other"
	for _, r := range []mesh.Registration{other, web("w1")} {
		if _, err := n.client(t, serviceToken).Register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	within(t, "an answer", func() {
		got := <-answer
		if len(got.Services) != 1 || got.Services[0].Service != "web" || len(got.Services[0].Instances) == 0 {
			t.Errorf("got %+v, want the service web alone", got)
		}
	})
}

func TestEventStreamSendsChangesAndEndsWithTheNode(t *testing.T) {
	n := start(t)
	c := n.client(t, serviceToken)
	if _, err := c.Register(t.Context(), web("w0")); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", n.url("/api/v1/watch"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	hc := &http.Client{Transport: &http.Transport{}}
	defer hc.CloseIdleConnections()
	res, err := hc.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if got := res.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type %q", got)
	}
	lines := bufio.NewScanner(res.Body)
	next := func() (id string, doc changeDoc) {
		for lines.Scan() {
			if v, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				id = v
			}
			if v, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return id, decode[changeDoc](t, v)
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return "", changeDoc{}
	}
	within(t, "the events", func() {
		id, whole := next()
		if id != whole.Revision || !whole.Full || len(whole.Services) != 1 {
			t.Errorf("first event %s: %+v, want the whole", id, whole)
		}
		if err := c.Deregister(t.Context(), mesh.Ref{ID: "w0"}); err != nil {
			t.Error(err)
		}
		_, gone := next()
		if gone.Full || len(gone.Services) != 1 || len(gone.Services[0].Instances) != 0 {
			t.Errorf("second event %+v, want the service gone", gone)
		}
		n.stop()
		for lines.Scan() {
		}
	})
}

func TestDescriptionIsOpenAPI31(t *testing.T) {
	n := start(t)
	status, _, body := n.do(t, "GET", "/openapi.json", "")
	if status != http.StatusOK {
		t.Fatalf("openapi.json: %d", status)
	}
	doc := decode[struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			Responses map[string]struct{ Content map[string]any }
		}
		Components struct{ Schemas map[string]any }
	}](t, body)
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("version %q, want 3.1", doc.OpenAPI)
	}
	for path, methods := range map[string][]string{
		"/api/v1/instances": {"get", "post"}, "/api/v1/instances/{id}": {"get", "delete"},
		"/api/v1/instances/{id}/renew": {"post"}, "/api/v1/instances/{id}/report": {"post"},
		"/api/v1/instances/{id}/drain": {"post"}, "/api/v1/services": {"get"},
		"/api/v1/services/{service}": {"get"}, "/api/v1/watch": {"get"},
	} {
		for _, m := range methods {
			op, ok := doc.Paths[path][m]
			if !ok {
				t.Errorf("%s %s is not described", m, path)
				continue
			}
			if _, ok := op.Responses["default"].Content["application/problem+json"]; !ok {
				t.Errorf("%s %s does not describe its problems", m, path)
			}
		}
	}
	if _, ok := doc.Components.Schemas["ErrorModel"]; ok || doc.Components.Schemas["Problem"] == nil {
		t.Error("the description has another error than Problem")
	}
	if status, _, body := n.do(t, "GET", "/openapi.yaml", ""); status != http.StatusOK || !strings.Contains(body, "openapi: ") {
		t.Errorf("openapi.yaml: %d", status)
	}
}
