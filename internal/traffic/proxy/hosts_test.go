package proxy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestEverySpellingOfAHostTakesTheSameRoute(t *testing.T) { both(t, everySpelling) }

func everySpelling(t *testing.T, how mode) {
	t.Helper()
	up := newRecorder(t, "")
	r := newRig(t, rigConfig{how: how, file: `routes:
  - {name: shop, match: {host: [Shop.example, xn--bcher-kva.example, "::1"]}, to: {service: svc}}
  - {name: any, to: {service: svc}}
`}, up.addr)
	for _, row := range []struct {
		name, host string
		status     int
		route      string
	}{
		{"P-4 as it is written", "shop.example", 200, "shop"},
		{"P-4 in upper case", "SHOP.EXAMPLE", 200, "shop"},
		{"P-4 with a final dot", "shop.example.", 200, "shop"},
		{"P-4 with a port", "shop.example:8443", 200, "shop"},
		{"P-4 with the colon of a port", "shop.example:", 200, "shop"},
		{"P-4 in upper case with a final dot and a port", "Shop.Example.:80", 200, "shop"},
		{"P-4 punycode", "xn--bcher-kva.example", 200, "shop"},
		{"P-4 punycode in upper case", "XN--BCHER-KVA.EXAMPLE:80", 200, "shop"},
		{"P-4 an IPv6 address", "[::1]", 200, "shop"},
		{"P-4 an IPv6 address with a port", "[::1]:5000", 200, "shop"},
		{"P-4 an IPv6 address in full", "[0:0:0:0:0:0:0:1]", 200, "shop"},
		{"P-4 an IPv6 address with zeros and a port", "[0000::0001]:5000", 200, "shop"},
		{"P-4 an IPv6 address that ends like an IPv4 one", "[::0.0.0.1]", 200, "shop"},
		{"P-4 another IPv6 address", "[::2]", 200, "any"},
		{"P-4 another host", "shop.example.org", 200, "any"},
		{"P-4 a dot alone", ".", 200, "any"},
		{"P-4 an IPv6 zone", "[::1%25lo]", 400, ""},
		{"P-4 an IPv6 zone as it is typed", "[::1%lo]", 400, ""},
		{"P-4 an IPv6 address without brackets", "::1", 400, ""},
		{"P-4 an IPv6 address behind a bracket that is not closed", "[::1", 400, ""},
		{"P-4 two ports", "shop.example:80:81", 400, ""},
		{"P-4 a port that is none", "shop.example:8o", 400, ""},
		{"P-4 a port with a sign", "shop.example:+80", 400, ""},
		{"P-4 a user", "other@shop.example", 400, ""},
		{"P-4 a name that is not punycode", "b\xc3\xbccher.example", 400, ""},
		{"P-4 an encoded dot", "shop%2Eexample", 400, ""},
		{"P-4 a path", "shop.example/x", 400, ""},
	} {
		for _, form := range []struct{ name, raw string }{
			{"in Host", "GET /x HTTP/1.1\r\nHost: " + row.host + "\r\n\r\n"},
			{"in the target", "GET http://" + row.host + "/x HTTP/1.1\r\nHost: shop.example\r\n\r\n"},
		} {
			if form.name == "in the target" && strings.HasSuffix(row.host, "/x") {
				continue // there it is a path
			}
			t.Run(row.name+" "+form.name, func(t *testing.T) {
				status, body, _ := r.once(form.raw)
				if rec := r.record(); status != row.status || rec.Route != row.route {
					t.Errorf("got %d by route %q, want %d by %q: %s", status, rec.Route, row.status, row.route, body)
				}
			})
		}
	}
}

// manyHosts is a file with a route of n hosts, and one for the rest.
func manyHosts(n int) string {
	var hosts []string
	for i := range n {
		hosts = append(hosts, fmt.Sprintf("Shop-%d.Example", i))
	}
	return "routes:\n  - {name: shop, match: {host: [" + strings.Join(hosts, ", ") + "], path: {prefix: /caf%C3%A9/a%20b}}, to: {service: svc}}\n" +
		"  - {name: any, to: {service: svc}}\n"
}

func TestCaseDecidesNothingOfAHostAndOfAnEncoding(t *testing.T) {
	up := newRecorder(t, "")
	r := newRig(t, rigConfig{file: manyHosts(1000)}, up.addr)
	for _, row := range []struct{ name, path, route, asked string }{
		{"P-2 as it is written", "/caf%C3%A9/a%20b", "shop", "/caf%C3%A9/a%20b"},
		{"P-2 an encoding in lower case", "/caf%c3%a9/a%20b", "shop", "/caf%C3%A9/a%20b"},
		{"P-2 an encoding in both", "/caf%C3%a9/a%20b/c", "shop", "/caf%C3%A9/a%20b/c"},
		{"P-2 letters that need no encoding", "/%63%61%66%c3%a9/%61%20b", "shop", "/caf%C3%A9/a%20b"},
		{"P-2 a path in another case", "/Caf%C3%A9/a%20b", "any", "/Caf%C3%A9/a%20b"},
	} {
		for _, host := range []string{"shop-0.example", "SHOP-99.EXAMPLE", "sHoP-100.eXaMpLe", "Shop-101.Example.", "SHOP-999.example:80"} {
			t.Run(row.name+" at "+host, func(t *testing.T) {
				status, body, _ := r.once("GET " + row.path + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
				if rec := r.record(); status != 200 || rec.Route != row.route {
					t.Errorf("got %d by route %q, want 200 by %q: %s", status, rec.Route, row.route, body)
				}
				saw := up.saw()
				if last := saw[len(saw)-1]; !strings.HasPrefix(last, "GET "+row.asked+" ") {
					t.Errorf("the endpoint was asked %q, want %s", last, row.asked)
				}
			})
		}
	}
}

func TestAServiceWithoutAnEndpointToPickIs503WithTheReason(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*mesh.Instance)
		status int
		says   string
	}{
		{"U-3 every instance failing", func(in *mesh.Instance) { in.Health = mesh.Failing }, 503, "of its instances 3 failing"},
		{"U-3 every instance draining", func(in *mesh.Instance) { in.Draining = true }, 503, "of its instances 3 draining"},
		{"U-3 one failing, the others draining", func(in *mesh.Instance) {
			in.Health, in.Draining = mesh.Failing, in.ID != "svc-0"
		}, 503, "of its instances 1 failing, 2 draining"},
		{"U-3 every instance degraded is a last resort", func(in *mesh.Instance) { in.Health = mesh.Degraded }, 200, "ok"},
		{"U-3 every instance suspect is a last resort", func(in *mesh.Instance) { in.Health = mesh.Suspect }, 200, "ok"},
		{"U-3 one degraded among failing ones is a last resort", func(in *mesh.Instance) {
			if in.Health = mesh.Failing; in.ID == "svc-1" {
				in.Health = mesh.Degraded
			}
		}, 200, "ok"},
	} {
		t.Run(row.name, func(t *testing.T) {
			up := newRecorder(t, "")
			r := newRig(t, rigConfig{change: row.change}, up.addr, up.addr, up.addr)
			status, body, _ := r.once("GET /api/svc/x HTTP/1.1\r\nHost: h\r\n\r\n")
			if status != row.status || !strings.Contains(body, row.says) {
				t.Errorf("got %d %q, want %d with %q", status, body, row.status, row.says)
			}
			code := ""
			if row.status == 503 {
				code = "TOSKA-UP-NONE"
			}
			if rec := r.record(); rec.Code != code || rec.Service != "Svc" {
				t.Errorf("recorded %+v, want code %q", rec.Record, code)
			}
		})
	}
}
