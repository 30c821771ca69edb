package httpapi_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func guarded() http.Handler {
	return httpapi.Guard(loopback(), tokens{})(http.HandlerFunc(whoami))
}

func TestN14HostAndOriginAreChecked(t *testing.T) {
	set := func(kv ...string) func(*http.Request) {
		return func(r *http.Request) {
			for i := 0; i < len(kv); i += 2 {
				r.Header.Set(kv[i], kv[i+1])
			}
		}
	}
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	method := func(m string) func(*http.Request) { return func(r *http.Request) { r.Method = m } }
	admin := set("Authorization", "Bearer admin-token")
	tests := []struct {
		name string
		edit []func(*http.Request)
		want int
	}{
		{"an IPv4 address", nil, 200},
		{"an IPv6 address with a port", []func(*http.Request){host("[::1]:5010")}, 200},
		{"an IPv6 address without one", []func(*http.Request){host("[::1]")}, 200},
		{"localhost in any case", []func(*http.Request){host("LocalHost:5010")}, 200},
		{"a name of the listener's own", []func(*http.Request){host("Mesh.Example:5010")}, 200},
		{"no host at all", []func(*http.Request){host("")}, 200},
		{"a foreign name", []func(*http.Request){host("evil.example:5010")}, 403},
		{"a name that only its caller knows, with a token", []func(*http.Request){host("discovery:8080"), admin}, 200},
		{"a name that begins like an own one", []func(*http.Request){host("mesh.example.evil.example")}, 403},
		{"a name that ends in localhost", []func(*http.Request){host("evil.localhost")}, 403},
		{"a page of this listener", []func(*http.Request){set("Origin", "http://127.0.0.1:5010", "Sec-Fetch-Site", "same-origin")}, 200},
		{"a page of another site", []func(*http.Request){set("Origin", "https://evil.example")}, 403},
		{"a page of another site with the admin token", []func(*http.Request){set("Origin", "https://evil.example"), admin}, 403},
		{"a page of another port", []func(*http.Request){set("Origin", "http://127.0.0.1:3000")}, 403},
		{"a sandboxed page", []func(*http.Request){set("Origin", "null")}, 403},
		{"a preflight", []func(*http.Request){method("OPTIONS"), set("Origin", "https://evil.example", "Access-Control-Request-Method", "POST")}, 403},
		{"an image of another site", []func(*http.Request){set("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors")}, 403},
		{"a page of the same site on another port", []func(*http.Request){set("Sec-Fetch-Site", "same-site")}, 403},
		{"a link that is followed", []func(*http.Request){set("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")}, 200},
		{"a frame of another site", []func(*http.Request){set("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe")}, 403},
		{"a form that is sent from another site", []func(*http.Request){method("POST"), set("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")}, 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := get(t, guarded(), "/", tt.edit...)
			if w.Code != tt.want {
				t.Fatalf("status %d, want %d: %s", w.Code, tt.want, w.Body)
			}
			if tt.want == 403 {
				if p := problem(t, w); p.Code != mesh.CodeOrigin {
					t.Errorf("code %s, want %s", p.Code, mesh.CodeOrigin)
				}
			}
		})
	}
}

func TestTokensAreKnownOrRefused(t *testing.T) {
	tests := []struct {
		name   string
		fields []string
		want   string
	}{
		{"none", nil, "anonymous"},
		{"the service's", []string{"Bearer service-token"}, "service"},
		{"the admin's, the scheme in any case", []string{"bearer admin-token"}, "admin"},
		{"an unknown one", []string{"Bearer guess"}, ""},
		{"an empty one", []string{"Bearer "}, ""},
		{"an empty field", []string{""}, ""},
		{"another scheme", []string{"Basic service-token"}, ""},
		{"two of them", []string{"Bearer service-token", "Bearer admin-token"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := get(t, guarded(), "/", func(r *http.Request) {
				for _, f := range tt.fields {
					r.Header.Add("Authorization", f)
				}
				r.RemoteAddr = "[::ffff:10.1.2.3]:999"
				r.Header.Set("X-Forwarded-For", "127.0.0.1")
			})
			if tt.want == "" {
				if p := problem(t, w); w.Code != 401 || p.Code != mesh.CodeUnauthenticated || w.Header().Get("WWW-Authenticate") == "" {
					t.Errorf("status %d and code %s, want 401 and %s", w.Code, p.Code, mesh.CodeUnauthenticated)
				}
				return
			}
			if !strings.Contains(w.Body.String(), `"role":"`+tt.want+`"`) || !strings.Contains(w.Body.String(), `"addr":"10.1.2.3"`) {
				t.Errorf("caller %s, want %s from the socket's address", w.Body, tt.want)
			}
		})
	}
}

func TestRefusalSpeaksTheCallersProtocol(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/toska.discovery.v1.Discovery/List", nil)
	r.Host = "evil.example"
	r.Header.Set("Content-Type", "application/grpc")
	w := httptest.NewRecorder()
	guarded().ServeHTTP(w, r)
	if got := w.Header().Get("Grpc-Status"); w.Code != 200 || got != "7" {
		t.Errorf("status %d, grpc-status %q, want 200 and 7", w.Code, got)
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	anonymous, service, inside := identity.Caller{}, identity.Caller{Role: identity.Service}, identity.Caller{Trusted: true}
	local, remote, open := httpapi.Listener{Loopback: true}, httpapi.Listener{}, httpapi.Listener{AnonymousFamily: true}
	tests := []struct {
		name                string
		caller              identity.Caller
		listener            httpapi.Listener
		read, write, family bool
	}{
		{"anonymous on loopback reads and uses the family's surface", anonymous, local, true, false, true},
		{"anonymous from elsewhere does nothing", anonymous, remote, false, false, false},
		{"anonymous where the family's surface is open uses that alone", anonymous, open, false, false, true},
		{"a token does everything", service, remote, true, true, true},
		{"the process itself does everything", inside, remote, true, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx := identity.NewContext(httpapi.NewListenerContext(t.Context(), tt.listener), tt.caller)
			for what, c := range map[string]struct {
				may  func(context.Context) error
				want bool
			}{"read": {httpapi.MayRead, tt.read}, "write": {httpapi.MayWrite, tt.write}, "family": {httpapi.MayUseFamily, tt.family}} {
				err := c.may(ctx)
				if (err == nil) != c.want || err != nil && !errors.Is(err, mesh.ErrUnauthenticated) {
					t.Errorf("%s: %v, want allowed = %v", what, err, c.want)
				}
			}
		})
	}
	if httpapi.MayRead(t.Context()) == nil || httpapi.MayUseFamily(t.Context()) == nil {
		t.Error("a context without a listener is open")
	}
}
