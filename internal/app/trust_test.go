package app_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	familyv1 "github.com/toska-mesh/toska-mesh/api/family/discovery/v1"
	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/trust/certificate"
	"github.com/toska-mesh/toska-mesh/internal/trust/certificate/certificatetest"
	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/nodeapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// withFile starts a node with a configuration file of the text in dir.
func withFile(t *testing.T, dir, text string) *running {
	t.Helper()
	path := certificatetest.WriteFile(t, dir, "mesh.yaml", []byte(text))
	return startWith(t, t.TempDir(), nil, func(c *app.Config) {
		if err := c.UseFile(path, func(flag string) bool { return flag != "listen-gateway-tls" }); err != nil {
			t.Fatal(err)
		}
	})
}

// fetch gets a URL by a client of its own, and follows nothing.
func fetch(t *testing.T, cfg *tls.Config, url string) (*http.Response, string) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatalf("get %s: %v", url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("get %s: %v", url, err)
	}
	return resp, string(b)
}

// alarmsOf returns those of the node that have the code.
func (r *running) alarmsOf(control, code string) string {
	r.t.Helper()
	c := nodeapi.NewClient(control, r.AdminToken)
	defer c.Close()
	st, err := c.Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, a := range st.Alarms {
		if a.Code == code {
			out = append(out, a.Detail)
		}
	}
	return strings.Join(out, "\n")
}

func TestTheGatewaySpeaksTLSAndFollowsItsFiles(t *testing.T) {
	dir, ca := t.TempDir(), certificatetest.NewAuthority(t, "ca")
	spec := certificatetest.Spec{Names: []string{"127.0.0.1", "shop.test"}, Subject: "one"}
	ca.Issue(t, spec).Write(t, dir, "shop")
	r := withFile(t, dir, `
listeners:
  gateway: {redirect: https}
  gateway-tls: {address: "127.0.0.1:0", certificates: [{cert: shop.crt, key: shop.key}]}
  inner: {address: "127.0.0.1:0", proxy_protocol: true}
trusted_proxies: [127.0.0.1]
`)
	r.register(mesh.Registration{Service: "web", Address: "127.0.0.1", Port: service(t), Lifetime: mesh.Permanent})
	cfg := &tls.Config{RootCAs: ca.Pool()}
	secure := "https://" + r.Addresses["gateway-tls"]
	r.until("the service is routed", func() bool {
		resp, _ := fetch(t, cfg, secure+"/api/web/hello")
		return resp.StatusCode == 200
	})
	if resp, body := fetch(t, cfg, secure+"/api/web/hello"); body != "served /hello" || resp.TLS.NegotiatedProtocol != "" && resp.TLS.NegotiatedProtocol != "http/1.1" {
		t.Errorf("got %q over %q", body, resp.TLS.NegotiatedProtocol)
	}
	for _, tc := range []struct{ path, location string }{
		{"/api/web/a%2Fb?x=1&y", secure + "/api/web/a%2Fb?x=1&y"},
		{"/", secure + "/"},
		{"//evil.test/x", secure + "/evil.test/x"},
		{"/metrics", secure + "/metrics"},
		{"/readyz", ""},
		{"/livez", ""},
		{"/health", ""},
	} {
		resp, _ := fetch(t, nil, "http://"+r.Addresses["gateway"]+tc.path)
		want := 200
		if tc.location != "" {
			want = 308
		}
		if resp.StatusCode != want || resp.Header.Get("Location") != tc.location {
			t.Errorf("%s is answered %d, %q; want %d, %q", tc.path, resp.StatusCode, resp.Header.Get("Location"), want, tc.location)
		}
	}

	ca.Issue(t, certificatetest.Spec{Names: spec.Names, Subject: "two"}).Write(t, dir, "shop")
	r.until("the new certificate is served", func() bool {
		resp, _ := fetch(t, cfg, secure+"/livez")
		return resp.TLS.PeerCertificates[0].Subject.CommonName == "two"
	})
	certificatetest.WriteFile(t, dir, "shop.key", []byte("damaged"))
	r.until("status tells of a bad key", func() bool {
		return strings.Contains(r.alarmsOf(r.Addresses["control"], certificate.CodePair), filepath.Join(dir, "shop.key")+": the file holds no private key")
	})
	if resp, _ := fetch(t, cfg, secure+"/livez"); resp.TLS.PeerCertificates[0].Subject.CommonName != "two" {
		t.Error("the old certificate is not in force any more")
	}
	ca.Issue(t, certificatetest.Spec{Names: spec.Names, NotAfter: time.Now().Add(time.Hour)}).Write(t, dir, "shop")
	r.until("status tells of the end of its time", func() bool {
		return strings.Contains(r.alarmsOf(r.Addresses["control"], certificate.CodeExpiry), "in less than a day")
	})
	if a := r.alarmsOf(r.Addresses["control"], certificate.CodePair); a != "" {
		t.Errorf("alarm %s", a)
	}

	// Clients behind a proxy are elsewhere, though the listener is on loopback.
	for path, want := range map[string]string{"/metrics": "HTTP/1.1 401 ", "/livez": "HTTP/1.1 200 "} {
		c, err := net.Dial("tcp", r.Addresses["inner"])
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\nGET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
		b, _ := io.ReadAll(c)
		_ = c.Close()
		if !strings.HasPrefix(string(b), want) {
			t.Errorf("%s is answered %q, want %s", path, b, want)
		}
	}
}

func TestServicesAreSpokenToOverTLSAndNeverWithout(t *testing.T) {
	dir, ca := t.TempDir(), certificatetest.NewAuthority(t, "ca")
	leaf := ca.Issue(t, certificatetest.Spec{Names: []string{"orders.test"}})
	ln := tls.NewListener(listenLocal(t), &tls.Config{Certificates: []tls.Certificate{leaf.TLS}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()})
	srv := &http.Server{ReadHeaderTimeout: time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "secure "+r.TLS.PeerCertificates[0].Subject.CommonName)
	})}
	go func() { _ = srv.Serve(ln) }() // ends with Close
	t.Cleanup(func() { _ = srv.Close() })
	ca.Issue(t, certificatetest.Spec{Subject: "gateway"}).Write(t, dir, "me")
	r := withFile(t, dir, `
services:
  orders: {tls: {ca: ca.pem, server_name: orders.test, client_certificate: {cert: me.crt, key: me.key}}}
  broken: {tls: {ca: 7}}
`)
	port, err := strconv.Atoi(ln.Addr().String()[strings.LastIndex(ln.Addr().String(), ":")+1:])
	if err != nil {
		t.Fatal(err)
	}
	r.register(mesh.Registration{Service: "orders", Address: "127.0.0.1", Port: port, Lifetime: mesh.Permanent})
	r.register(mesh.Registration{Service: "broken", Address: "127.0.0.1", Port: service(t), Lifetime: mesh.Permanent})
	r.until("N-13: without its authorities the service is not spoken to", func() bool {
		status, body := r.gateway("/api/orders/")
		return status == 503 && strings.Contains(body, "TOSKA-UP-TLS-MATERIAL")
	})
	if a := r.alarmsOf(r.Addresses["control"], certificate.CodeTrust); !strings.Contains(a, "service orders: "+filepath.Join(dir, "ca.pem")+": there is no such file") {
		t.Errorf("alarm %q", a)
	}
	certificatetest.WriteFile(t, dir, "ca.pem", ca.PEM)
	r.until("with them it is", func() bool {
		status, body := r.gateway("/api/orders/")
		return status == 200 && body == "secure gateway"
	})
	if status, body := r.gateway("/api/broken/"); status != 503 || !strings.Contains(body, "quarantined") {
		t.Errorf("U-1: a service whose TLS is written wrongly is answered %d, %s", status, body)
	}
}

func TestANodeDoesNotStartWithoutWhatItsListenersNeed(t *testing.T) {
	ca := certificatetest.NewAuthority(t, "ca")
	for name, data := range map[string][]byte{"missing": nil, "empty": {}, "corrupt": []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")} {
		dir := t.TempDir()
		ca.Issue(t, certificatetest.Spec{Names: []string{"shop.test"}}).Write(t, dir, "shop")
		if data != nil {
			certificatetest.WriteFile(t, dir, "ca.pem", data)
		}
		path := certificatetest.WriteFile(t, dir, "mesh.yaml", []byte(
			`listeners: {gateway-tls: {address: "127.0.0.1:0", certificates: [{cert: shop.crt, key: shop.key}], client_certificates: {mode: require, ca: ca.pem}}}`))
		cfg := app.DefaultConfig()
		cfg.DataDir, cfg.ListenControl, cfg.ListenDiscovery, cfg.ListenGateway = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
		if err := cfg.UseFile(path, func(string) bool { return false }); err != nil {
			t.Fatal(err)
		}
		a, err := app.New(cfg)
		if mesh.CodeOf(err) != certificate.CodeTrust || !strings.Contains(err.Error(), filepath.Join(dir, "ca.pem")) {
			t.Errorf("N-13 %s: %v", name, err)
		}
		if a != nil {
			_ = a.Close()
		}
	}
}

func TestAnAddressForTLSWantsCertificates(t *testing.T) {
	cfg := app.DefaultConfig()
	cfg.ListenGatewayTLS = ":8443"
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "listeners.gateway-tls.certificates") {
		t.Errorf("got %v", err)
	}
	cfg.WithoutIdleTLS()
	if err := cfg.Validate(); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestControlAndDiscoverySpeakTLS(t *testing.T) {
	dir, ca := t.TempDir(), certificatetest.NewAuthority(t, "ca")
	ca.Issue(t, certificatetest.Spec{Names: []string{"node.test"}}).Write(t, dir, "node")
	r := withFile(t, dir, `
control: {tls: {cert: node.crt, key: node.key}}
discovery: {tls: {cert: node.crt, key: node.key}, anonymous: false}
`)
	if file := r.TLS["control"]; file != filepath.Join(dir, "node.crt") || r.TLS["gateway"] != "" {
		t.Fatalf("the ready file has %v", r.TLS)
	}
	control := "https://" + r.Addresses["control"] + "#" + r.TLS["control"]
	if a := r.alarmsOf(control, certificate.CodePair); a != "" {
		t.Errorf("alarms %s", a)
	}
	c := discoveryapi.NewClient(control, r.ServiceToken)
	defer c.Close()
	if _, err := c.Register(t.Context(), mesh.Registration{Service: "web", Address: "127.0.0.1", Port: service(t), Lifetime: mesh.Permanent}); err != nil {
		t.Errorf("a registration over TLS: %v", err)
	}
	// Whoever shows another certificate is not spoken to, nor is anything without TLS.
	certificatetest.NewAuthority(t, "other").Issue(t, certificatetest.Spec{Names: []string{"node.test"}}).Write(t, dir, "other")
	for _, bad := range []string{
		"https://" + r.Addresses["control"] + "#" + filepath.Join(dir, "other.crt"),
		"https://" + r.Addresses["control"] + "#" + filepath.Join(dir, "none.crt"),
		"https://" + r.Addresses["control"],
		r.Addresses["control"],
	} {
		n := nodeapi.NewClient(bad, r.AdminToken)
		if _, err := n.Status(t.Context()); err == nil {
			t.Errorf("%s was spoken to", bad)
		}
		n.Close()
	}
	for _, at := range []string{"discovery", "control"} {
		conn, err := grpc.NewClient(r.Addresses[at], grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: ca.Pool(), ServerName: "node.test"})))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for token, want := range map[string]codes.Code{"Bearer " + r.ServiceToken: codes.OK, "Bearer wrong": codes.Unauthenticated} {
			ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "authorization", token), 5*time.Second)
			resp := new(familyv1.RegisterServiceResponse)
			err := conn.Invoke(ctx, "/toskamesh.discovery.DiscoveryRegistry/Register", &familyv1.RegisterServiceRequest{ServiceName: "csharp", ServiceId: "csharp-" + at, Address: "10.0.0.9", Port: 8080}, resp)
			cancel()
			if status.Code(err) != want || want == codes.OK && !resp.GetSuccess() {
				t.Errorf("%s with %q: %v, %v", at, token, resp, err)
			}
		}
	}
}
