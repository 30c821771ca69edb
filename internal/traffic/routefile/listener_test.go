package routefile_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
)

func TestListenersAndWhatTheySpeak(t *testing.T) {
	f := read(t, "tls.yaml")
	origins := cmpopts.IgnoreTypes(route.Origin{})
	pair := func(cert, key string) []routefile.Certificate { return []routefile.Certificate{{Cert: cert, Key: key}} }
	want := map[string]routefile.Listener{
		"gateway": {Redirect: true},
		"gateway-tls": {TLS: &routefile.TLS{
			Certificates: append(pair("shop.crt", "shop.key"), pair("/etc/tls/all.pem", "/etc/tls/all.pem")...),
			MinVersion:   "1.3", Clients: routefile.VerifyClients, ClientCA: "clients.pem",
		}},
		"inner": {Address: routefile.Address{HostPort: "10.0.0.1:8443"}, ProxyProtocol: true, TLS: &routefile.TLS{Certificates: pair("a.crt", "a.key")}},
	}
	if diff := cmp.Diff(want, f.Listeners, origins); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"gateway-tls", "inner"}, f.Secure()); diff != "" {
		t.Errorf("those that speak TLS (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&routefile.TLS{Certificates: pair("control.crt", "control.key")}, f.ControlTLS); diff != "" {
		t.Errorf("control (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&routefile.TLS{Certificates: pair("d.crt", "d.key"), MinVersion: "1.2"}, f.Discovery.TLS); diff != "" {
		t.Errorf("discovery (-want +got):\n%s", diff)
	}
	services := []route.ServiceSpec{
		{Name: "orders", Secure: true, TLS: upstream.TLS{CA: "ca.pem", ServerName: "orders.internal", Cert: "me.crt", Key: "me.key"}},
		{Name: "plain", Secure: true, Proxy: 2},
		{Name: "mixed", Endpoints: []string{"https://10.0.0.7:8443", "10.0.0.8:80"}},
	}
	if diff := cmp.Diff(services, f.Set.Services, origins); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
}
