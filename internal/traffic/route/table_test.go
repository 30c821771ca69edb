package route_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

type conns struct{ addr string }

func (*conns) Sweep(time.Time) {}
func (*conns) Close()          {}

func open(to upstream.Target) upstream.Connections { return &conns{to.Addr} }

// snapshot has one instance for each name, at a port of its own.
func snapshot(names ...string) *mesh.Snapshot {
	s := &mesh.Snapshot{Revision: mesh.Revision{Epoch: 1, Number: 1}, Services: map[string][]*mesh.Instance{}}
	for i, name := range names {
		key := mesh.ServiceKey(name)
		s.Services[key] = append(s.Services[key], &mesh.Instance{ID: fmt.Sprintf("%s-%d", key, i), Service: name, Address: "10.0.0.1", Port: i + 1})
	}
	return s
}

func request(method, target string) *exchange.Request {
	path, encoded, problem := exchange.Canonical(nil, []byte(target))
	if problem != "" {
		panic(problem)
	}
	return &exchange.Request{Method: []byte(method), Path: path, EncodedSlash: encoded}
}

func TestMatch(t *testing.T) {
	const found, internal, none, noService, encoded = route.Found, route.Internal, route.None, route.NoService, route.EncodedSlash
	for _, tc := range []struct {
		name, prefix, method, path string
		outcome                    route.Outcome
		service, rest, taken       string
	}{
		{"prefix and name are taken away", "/api/", "GET", "/api/web/a/b", found, "Web", "/a/b", "/api/web"},
		{"without a slash it is the root", "/api/", "GET", "/api/web", found, "Web", "/", "/api/web"},
		{"a trailing slash stays", "/api/", "GET", "/api/web/a/", found, "Web", "/a/", "/api/web"},
		{"names are compared without case", "/api/", "GET", "/api/WEB/a", found, "Web", "/a", "/api/WEB"},
		{"the prefix is compared with it", "/api/", "GET", "/API/web/a", none, "", "", ""},
		{"an encoded slash behind the name", "/api/", "GET", "/api/web/a%2fb", found, "Web", "/a%2Fb", "/api/web"},
		{"an encoded slash in the name", "/api/", "GET", "/api/web%2fa", encoded, "", "", ""},
		{"an encoded slash where nothing is", "/api/", "GET", "/other%2fa", encoded, "", "", ""},
		{"an unknown service", "/api/", "GET", "/api/nobody/a", noService, "", "", ""},
		{"a name longer than any", "/api/", "GET", "/api/" + longName + "/a", noService, "", "", ""},
		{"the prefix alone", "/api/", "GET", "/api/", none, "", "", ""},
		{"the prefix without its slash", "/api/", "GET", "/api", none, "", "", ""},
		{"a longer first segment", "/api/", "GET", "/apis/web", none, "", "", ""},
		{"the root", "/api/", "GET", "/", none, "", "", ""},
		{"the root as a prefix", "/", "GET", "/web/a", found, "Web", "/a", "/web"},
		{"the root as a prefix, alone", "/", "GET", "/", none, "", "", ""},
		{"a longer prefix", "/v1/mesh/", "POST", "/v1/mesh/web/a", found, "Web", "/a", "/v1/mesh/web"},
		{"dashboard is reserved", "/api/", "GET", "/api/dashboard/x", noService, "", "", ""},
		{"consul is reserved", "/api/", "GET", "/api/Consul/x", noService, "", "", ""},
		{"what begins with a reserved name is not", "/api/", "GET", "/api/consul-template/x", found, "consul-template", "/x", "/api/consul-template"},

		{"health", "/api/", "GET", "/health", internal, "", "", ""},
		{"health by HEAD", "/api/", "HEAD", "/health", internal, "", "", ""},
		{"live", "/api/", "GET", "/health/live", internal, "", "", ""},
		{"ready", "/api/", "GET", "/health/ready", internal, "", "", ""},
		{"livez", "/api/", "GET", "/livez", internal, "", "", ""},
		{"readyz", "/api/", "GET", "/readyz", internal, "", "", ""},
		{"P-13 another method is none of ours", "/api/", "POST", "/health", none, "", "", ""},
		{"P-13 in another case it is not ours", "/api/", "GET", "/Health", none, "", "", ""},
		{"P-13 with a slash it is not ours", "/api/", "GET", "/health/", none, "", "", ""},
		{"P-13 what lies beneath is not ours", "/api/", "GET", "/health/live/x", none, "", "", ""},
		{"under the root our own come first", "/", "GET", "/health", internal, "", "", ""},
		{"under the root a service named health has the rest", "/", "GET", "/health/x", found, "health", "/x", "/health"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			table := route.Build(nil, route.Input{Prefix: tc.prefix, Snapshot: snapshot("Web", "dashboard", "consul", "consul-template", "health")}, open)
			m, outcome := table.Match(request(tc.method, tc.path))
			if outcome != tc.outcome {
				t.Fatalf("outcome %d, want %d", outcome, tc.outcome)
			}
			if outcome != found {
				return
			}
			if m.Upstream.Service != tc.service || string(m.Path) != tc.rest || string(m.Prefix) != tc.taken {
				t.Errorf("matched %s, %s, %s; want %s, %s, %s", m.Upstream.Service, m.Path, m.Prefix, tc.service, tc.rest, tc.taken)
			}
		})
	}
}

var longName = string(slices.Repeat([]byte("n"), 300))

func TestNormalPrefix(t *testing.T) {
	for in, want := range map[string]string{
		"": "/api/", "/": "/", "//": "/", "/api": "/api/", "api": "/api/", "api/": "/api/", "/api/": "/api/", "/a/b": "/a/b/", "//x//": "/x/", "/v1.2/~a": "/v1.2/~a/",
	} {
		if got, err := route.NormalPrefix(in); got != want || err != nil {
			t.Errorf("NormalPrefix(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"/a/../b", "/a//b", "/%61", "/a%2fb", "/a b", "/a?b", "/a#b", `/a\b`, "/a\x00b", "/..", "/.", "/a\n"} {
		if got, err := route.NormalPrefix(in); err == nil {
			t.Errorf("NormalPrefix(%q) = %q, want an error", in, got)
		}
	}
}

func TestOnlyWhatChangedIsBuiltAnew(t *testing.T) {
	snap := snapshot("Web", "Shop", "Old")
	before := route.Build(nil, route.Input{Prefix: "/api/", Snapshot: snap}, open)
	next := &mesh.Snapshot{Revision: mesh.Revision{Epoch: 1, Number: 2}, Services: map[string][]*mesh.Instance{
		"web":  snap.Services["web"],
		"shop": {snap.Services["shop"][0], {ID: "shop-new", Service: "Shop", Address: "10.0.0.1", Port: 99}},
	}}
	after := route.Build(before, route.Input{Prefix: "/api/", Snapshot: next}, open)
	if after.Revision != next.Revision || before.Revision != snap.Revision || after.BuiltAt.IsZero() {
		t.Errorf("revisions %v and %v", before.Revision, after.Revision)
	}
	was, _ := before.Match(request("GET", "/api/web"))
	is, _ := after.Match(request("GET", "/api/web"))
	if was.Upstream != is.Upstream {
		t.Error("the upstream of a service that did not change was built anew")
	}
	was, _ = before.Match(request("GET", "/api/shop"))
	is, _ = after.Match(request("GET", "/api/shop"))
	if was.Upstream == is.Upstream || was.Upstream.All()[0] != is.Upstream.All()[0] {
		t.Error("want a new upstream with the endpoint that stayed")
	}
	if _, outcome := before.Match(request("GET", "/api/old")); outcome != route.Found {
		t.Error("the old table changed")
	}

	var closed []string
	after.Abandoned(before, func(c upstream.Connections) { closed = append(closed, c.(*conns).addr) })
	if diff := cmp.Diff([]string{"10.0.0.1:3"}, closed); diff != "" {
		t.Errorf("closed (-want +got):\n%s", diff)
	}
	after.Abandoned(nil, func(upstream.Connections) { t.Error("of no table something was abandoned") })

	var each []string
	after.Each(func(_ *upstream.Upstream, e *upstream.Endpoint) { each = append(each, e.Addr) })
	slices.Sort(each)
	if diff := cmp.Diff([]string{"10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:99"}, each); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
	if _, s, e := after.Counts(); s != 2 || e != 3 {
		t.Errorf("%d services, %d endpoints", s, e)
	}
}

func TestMatchingAllocatesNothing(t *testing.T) {
	table := route.Build(nil, route.Input{Prefix: "/api/", Snapshot: snapshot("Web")}, open)
	for _, path := range []string{"/api/web/a/b", "/api/WEB/a/b", "/api/nobody", "/health", "/"} {
		r := request("GET", path)
		if n := testing.AllocsPerRun(1000, func() { table.Match(r) }); n != 0 {
			t.Errorf("matching %s allocates %v times", path, n)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	names := make([]string, 10000)
	for i := range names {
		names[i] = fmt.Sprintf("service-%d", i)
	}
	table := route.Build(nil, route.Input{Prefix: "/api/", Snapshot: snapshot(names...)}, open)
	for name, path := range map[string]string{"as registered": "/api/service-7777/a/b", "in another case": "/api/Service-7777/a/b"} {
		b.Run(name, func(b *testing.B) {
			r := request("GET", path)
			b.ReportAllocs()
			for b.Loop() {
				table.Match(r)
			}
		})
	}
}
