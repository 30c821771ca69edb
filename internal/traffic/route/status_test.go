package route_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func build(set *route.Set, services ...string) *route.Table {
	return route.Build(nil, route.Input{Prefix: "/api/", Snapshot: snapshot(services...), Set: set}, noConnections)
}

func TestAnotherMethodOfAPathThatIsTaken(t *testing.T) {
	table := build(&route.Set{Routes: []route.Spec{
		{Name: "read", Prefix: "/orders", Methods: []string{"GET", "HEAD"}, Service: "web"},
		{Name: "write", Exact: "/orders/new", Methods: []string{"POST"}, Service: "web"},
		{Name: "host", Hosts: []string{"shop.test"}, Prefix: "/orders", Methods: []string{"PUT"}, Service: "web"},
		{Name: "under", Prefix: "/api/web/x", Methods: []string{"GET"}, Service: "web"},
	}}, "web")
	for _, row := range []struct {
		name, method, host, path string
		outcome                  route.Outcome
		allow                    string
	}{
		{"a method of none", "DELETE", "h", "/orders/7", route.OtherMethod, "GET HEAD"},
		{"those of all routes of the path", "DELETE", "h", "/orders/new", route.OtherMethod, "GET HEAD POST"},
		{"those of the host too", "DELETE", "shop.test", "/orders/7", route.OtherMethod, "GET HEAD PUT"},
		{"a method that is taken", "HEAD", "h", "/orders/7", route.Found, ""},
		{"another path", "DELETE", "h", "/order", route.None, ""},
		{"what the prefix takes", "DELETE", "h", "/api/web/x", route.Found, ""},
		{"an encoded slash is told first", "DELETE", "h", "/orders/a%2Fb", route.EncodedSlash, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := exchange.Request{Method: []byte(row.method), Host: []byte(row.host), Path: []byte(row.path), EncodedSlash: strings.Contains(row.path, "%2F")}
			_, outcome := table.Match(&r)
			if outcome != row.outcome {
				t.Fatalf("outcome %d, want %d", outcome, row.outcome)
			}
			if allow := strings.Join(table.Allowed(&r), " "); row.allow != "" && allow != row.allow {
				t.Errorf("allowed %q, want %q", allow, row.allow)
			}
		})
	}
}

func TestAServiceWhoseEntryIsQuarantinedIsNotSentElsewhere(t *testing.T) {
	refused := []route.Refusal{{Kind: route.KindService, Name: "Web", Origin: route.Origin{File: "f", Line: 3, Column: 1}, Reason: "unknown key"}}
	good := &route.Set{Services: []route.ServiceSpec{{Name: "web", Endpoints: []string{"10.9.9.9:1"}}}, Routes: []route.Spec{{Name: "r", Prefix: "/r", Service: "web"}}}
	bad := &route.Set{Routes: good.Routes, Quarantined: refused}
	ask := func(table *route.Table, path string) (string, route.Outcome) {
		m, outcome := table.Match(request("GET", path))
		if m.Upstream == nil || len(m.Upstream.Live()) == 0 {
			return "", outcome
		}
		return m.Upstream.Live()[0].Addr, outcome
	}
	t.Run("at the start it is refused", func(t *testing.T) {
		table := build(bad.Keeping(nil), "web", "shop")
		for _, path := range []string{"/r/x", "/api/web/x", "/api/WEB"} {
			if _, outcome := ask(table, path); outcome != route.Refused {
				t.Errorf("%s: outcome %d, want %d", path, outcome, route.Refused)
			}
		}
		if _, outcome := ask(table, "/api/shop/x"); outcome != route.Found {
			t.Errorf("another service: outcome %d", outcome)
		}
		st := table.Status()
		last := st[len(st)-1]
		if last.Name != "r" || last.State != mesh.RouteQuarantined || !strings.Contains(last.Reason, "f:3:1") {
			t.Errorf("its route is %+v", last)
		}
		up := table.UpstreamStatus("WEB", time.Now())
		if len(up) != 1 || up[0].Quarantined != "f:3:1: unknown key" || up[0].Why == "" || up[0].Endpoints[0].Picked {
			t.Errorf("its upstream is %+v", up)
		}
	})
	t.Run("later its last good entry stays", func(t *testing.T) {
		kept := bad.Keeping(good)
		if again := bad.Keeping(kept); len(again.Services) != 1 {
			t.Errorf("after another wrong file: %+v", again)
		}
		table := build(kept, "web")
		for _, path := range []string{"/r/x", "/api/web/x"} {
			if addr, outcome := ask(table, path); outcome != route.Found || addr != "10.9.9.9:1" {
				t.Errorf("%s: outcome %d at %s", path, outcome, addr)
			}
		}
		if st := table.Status()[len(table.Status())-2]; st.State != mesh.RouteInForce || !strings.Contains(st.Warning, "last good entry") {
			t.Errorf("its route is %+v", st)
		}
	})
	t.Run("a good entry ends it", func(t *testing.T) {
		if kept := good.Keeping(bad); kept != good {
			t.Error("a set without a refused entry was changed")
		}
	})
}

func TestAServiceMayBeHiddenFromThePrefix(t *testing.T) {
	hidden, shown := false, true
	for _, row := range []struct {
		name string
		set  route.Set
		web  route.Outcome
		shop route.Outcome
	}{
		{"by itself", route.Set{Services: []route.ServiceSpec{{Name: "Web", Prefix: &hidden}}}, route.NoService, route.Found},
		{"by default", route.Set{NoPrefix: true}, route.NoService, route.NoService},
		{"by default but for one", route.Set{NoPrefix: true, Services: []route.ServiceSpec{{Name: "web", Prefix: &shown}}}, route.Found, route.NoService},
		{"not by an entry that says nothing of it", route.Set{Services: []route.ServiceSpec{{Name: "web"}}}, route.Found, route.Found},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.set.Routes = []route.Spec{{Name: "r", Prefix: "/r", Service: "web"}}
			table := build(&row.set, "web", "shop")
			for path, want := range map[string]route.Outcome{"/api/web/x": row.web, "/api/shop": row.shop, "/r": route.Found} {
				if _, outcome := table.Match(request("GET", path)); outcome != want {
					t.Errorf("%s: outcome %d, want %d", path, outcome, want)
				}
			}
		})
	}
}

func TestTheStatusOfRoutesHasAllInTheirOrder(t *testing.T) {
	set := &route.Set{
		Defaults: route.Policy{PerTry: 3 * time.Second}, Services: []route.ServiceSpec{{Name: "web", Policy: route.Policy{Total: 9 * time.Second}}},
		Routes: []route.Spec{
			{Name: "all", Service: "shop"},
			{Name: "host", Hosts: []string{"a.test"}, Service: "web"},
			{Name: "cart", Exact: "/cart", Service: "web", Host: "upstream", Policy: route.Policy{Attempts: 4, RetryAll: true}},
		},
		Quarantined: []route.Refusal{{Kind: route.KindRoute, Name: "bad", Reason: "why"}, {Kind: route.KindService, Name: "other"}},
	}
	var order []string
	byName := map[string]mesh.RouteStatus{}
	for _, st := range build(set, "web").Status() {
		if st.Kind != mesh.RouteInternal || st.Path == "/livez" {
			order = append(order, st.Kind+" "+st.Name+" "+st.Path+" "+st.State)
		}
		byName[st.Name] = st
	}
	want := []string{"route host /… in force", "internal - /livez in force", "route cart /cart in force", "route all /… in force",
		"prefix - /api/{service}/… in force", "route bad  quarantined"}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	cart := byName["cart"]
	if cart.Exact != "/cart" || cart.Prefix != "" || cart.UpstreamHost != "upstream" || cart.Timeouts != (mesh.RouteTimeouts{Connect: 2 * time.Second,
		PerTry: 3 * time.Second, Idle: 30 * time.Second, Total: 9 * time.Second}) || cart.Retry != (mesh.RouteRetry{Attempts: 4, Budget: 0.2, AllMethods: true}) {
		t.Errorf("cart is %+v", cart)
	}
	if !strings.Contains(byName["all"].Warning, "shadows the prefix /api/") || byName["host"].Warning != "" || cart.Warning != "" {
		t.Errorf("warnings %q, %q, %q", byName["all"].Warning, byName["host"].Warning, cart.Warning)
	}
}

func TestWhichRoutesShadowThePrefix(t *testing.T) {
	for _, row := range []struct {
		spec   route.Spec
		prefix string
		yes    bool
	}{
		{route.Spec{}, "/api/", true},
		{route.Spec{Methods: []string{"GET"}}, "/api/", true},
		{route.Spec{Prefix: "/api"}, "/api/", true},
		{route.Spec{Prefix: "/v1"}, "/v1/mesh/", true},
		{route.Spec{Prefix: "/ap"}, "/api/", false},
		{route.Spec{Prefix: "/api/web"}, "/api/", false},
		{route.Spec{Exact: "/"}, "/api/", false},
		{route.Spec{Hosts: []string{"h"}}, "/api/", false},
		{route.Spec{}, "/", true},
	} {
		set := route.Set{Routes: []route.Spec{row.spec}}
		if got := set.Warnings(row.prefix); len(got) > 0 != row.yes {
			t.Errorf("%+v under %s: %v, want a warning: %v", row.spec, row.prefix, got, row.yes)
		}
	}
}
