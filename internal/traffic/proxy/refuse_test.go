package proxy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/proxy"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// problem is what an answer of ours says of itself.
type problem struct {
	Title, Detail, Code string
	Status              int
	RequestID           string `json:"request_id"`
}

func (r *rig) refusal(raw string) (*http.Response, problem) {
	r.t.Helper()
	c := r.dial()
	if _, err := fmt.Fprint(c, raw); err != nil {
		r.t.Fatal(err)
	}
	method, _, _ := strings.Cut(raw, " ")
	resp := answers(r.t, c, method, 1)[0]
	body, err := io.ReadAll(resp.Body)
	var p problem
	if err != nil || json.Unmarshal(body, &p) != nil {
		r.t.Fatalf("answer %q: %v", body, err)
	}
	return resp, p
}

func TestARequestThatIsNotForwardedIsToldWhy(t *testing.T) {
	const methods = "routes:\n  - {name: a, match: {path: {prefix: /a}, methods: [GET, PUT]}, to: {service: svc}}\n"
	quarantine := func(s *route.Set) {
		s.Quarantined = []route.Refusal{{Kind: route.KindService, Name: "svc", Reason: "secret"}}
	}
	for _, row := range []struct {
		name   string
		cfg    rigConfig
		change func(*route.Set)
		asked  string
		status int
		code   string
		detail string
		allow  string
	}{
		{"another method", rigConfig{file: methods}, nil, "DELETE /a/x HTTP/1.1\r\nHost: h\r\nX-Request-Id: r1\r\n\r\n", 405, proxy.CodeMethod, "GET, PUT", "GET, PUT"},
		{"no instance", rigConfig{change: func(in *mesh.Instance) { in.Draining = true }}, nil, get("X-Request-Id: r1\r\n"), 503, proxy.CodeNoEndpoint,
			"no instance of the service Svc can be picked: of its instances 1 draining", ""},
		{"a quarantined service", rigConfig{}, quarantine, get("X-Request-Id: r1\r\n"), 503, proxy.CodeQuarantined, "the entry of the service Svc in the configuration is quarantined", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.cfg.setChange = row.change
			r := newRig(t, row.cfg, "127.0.0.1:1")
			resp, p := r.refusal(row.asked)
			if resp.StatusCode != row.status || p.Status != row.status || p.Code != row.code || !strings.Contains(p.Detail, row.detail) || resp.Header.Get("Allow") != row.allow {
				t.Errorf("%d, Allow %q, %+v; want %+v", resp.StatusCode, resp.Header.Get("Allow"), p, row)
			}
			if p.RequestID != "r1" || strings.Contains(p.Detail, "secret") {
				t.Errorf("the problem is %+v", p)
			}
		})
	}
}
