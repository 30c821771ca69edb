package route_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
)

// noConnections are those of endpoints that nobody dials.
func noConnections(upstream.Target) upstream.Connections { return nil }

func TestAConfiguredRouteIsFoundByPrecedenceWhateverTheOrderOfTheFile(t *testing.T) {
	specs := []route.Spec{
		{Name: "any", Service: "web"},
		{Name: "shop", Prefix: "/shop", StripPrefix: "/shop", Service: "web"},
		{Name: "shop-admin", Prefix: "/shop/admin", ReplacePrefix: "/a", Service: "web"},
		{Name: "cart", Exact: "/shop/cart", Service: "web", Methods: []string{"GET"}},
		{Name: "cart-rest", Exact: "/shop/cart", Service: "web"},
		{Name: "host", Hosts: []string{"shop.test"}, Prefix: "/shop", Service: "web"},
		{Name: "host-health", Hosts: []string{"own.test"}, Exact: "/health", Service: "web"},
		{Name: "slashes", Prefix: "/files", KeepEncodedSlash: true, Service: "web"},
	}
	rows := []struct{ name, method, host, path, route, asked string }{
		{"no other route", "GET", "h", "/x", "any", "/x"},
		{"a prefix of whole segments", "GET", "h", "/shop/x", "shop", "/x"},
		{"the prefix alone", "GET", "h", "/shop", "shop", "/"},
		{"what only begins like a prefix", "GET", "h", "/shopping", "any", "/shopping"},
		{"a longer prefix before a shorter one", "GET", "h", "/shop/admin/x", "shop-admin", "/a/x"},
		{"a replaced prefix alone", "GET", "h", "/shop/admin", "shop-admin", "/a"},
		{"an exact path before a prefix", "GET", "h", "/shop/cart", "cart", "/shop/cart"},
		{"a method before none", "POST", "h", "/shop/cart", "cart-rest", "/shop/cart"},
		{"a host before none", "GET", "shop.test", "/shop/x", "host", "/shop/x"},
		{"P-4 a host in upper case with a port and a final dot", "GET", "SHOP.Test.:8443", "/shop/x", "host", "/shop/x"},
		{"a host whose routes do not take the path", "GET", "shop.test", "/other", "any", "/other"},
		{"a host that is named wins over the gateway's own paths", "GET", "own.test", "/health", "host-health", "/health"},
		{"an encoded slash where the route takes it", "GET", "h", "/files/a%2Fb", "slashes", "/files/a%2Fb"},
	}
	for turn := range specs {
		turned := append(append([]route.Spec{}, specs[turn:]...), specs[:turn]...)
		table := route.Build(nil, route.Input{Prefix: "/api/", Snapshot: snapshot("web"), Set: &route.Set{Routes: turned}}, noConnections)
		for _, row := range rows {
			t.Run(fmt.Sprintf("%s, file turned by %d", row.name, turn), func(t *testing.T) {
				r := exchange.Request{Method: []byte(row.method), Host: []byte(row.host), Path: []byte(row.path),
					EncodedSlash: bytes.Contains([]byte(row.path), []byte("%2F"))}
				m, outcome := table.Match(&r)
				if outcome != route.Found || m.Route.Name != row.route || m.Front+string(m.Path) != row.asked {
					t.Errorf("outcome %d, route %+v, asked %s%s; want %s and %s", outcome, m.Route, m.Front, m.Path, row.route, row.asked)
				}
			})
		}
	}
}

func TestAnEncodedSlashIsRefusedWhereNoRouteTakesIt(t *testing.T) {
	set := &route.Set{Routes: []route.Spec{{Name: "files", Prefix: "/files", Service: "web"}}}
	table := route.Build(nil, route.Input{Prefix: "/api/", Snapshot: snapshot("web"), Set: set}, noConnections)
	r := exchange.Request{Method: []byte("GET"), Host: []byte("h"), Path: []byte("/files/a%2Fb"), EncodedSlash: true}
	if _, outcome := table.Match(&r); outcome != route.EncodedSlash {
		t.Errorf("outcome %d, want EncodedSlash", outcome)
	}
}

func TestPoliciesAreTakenFromRouteServiceAndDefaults(t *testing.T) {
	set := &route.Set{
		Defaults: route.Policy{Attempts: 3},
		Services: []route.ServiceSpec{{Name: "web", Policy: route.Policy{Budget: 0.5, Attempts: 4}}},
		Routes:   []route.Spec{{Name: "r", Prefix: "/r", Service: "web", Policy: route.Policy{Attempts: 5}}},
	}
	table := route.Build(nil, route.Input{Prefix: "/api/", Snapshot: snapshot("web", "other"), Set: set}, noConnections)
	for path, want := range map[string]route.Policy{
		"/r": {Attempts: 5, Budget: 0.5}, "/api/web/x": {Attempts: 4, Budget: 0.5}, "/api/other/x": {Attempts: 3, Budget: route.DefaultPolicy().Budget},
	} {
		r := exchange.Request{Method: []byte("GET"), Host: []byte("h"), Path: []byte(path)}
		m, outcome := table.Match(&r)
		if outcome != route.Found || m.Route.Policy.Attempts != want.Attempts || m.Route.Policy.Budget != want.Budget ||
			m.Route.Policy.PerTry != route.DefaultPolicy().PerTry {
			t.Errorf("%s: %+v, want %+v over the defaults", path, m.Route, want)
		}
	}
}
