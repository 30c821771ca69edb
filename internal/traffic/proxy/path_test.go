package proxy_test

import (
	"strings"
	"testing"
)

// target is a row: a request target, and what the endpoint must have been asked for.
type target struct {
	name   string
	target string
	status int
	want   string // the endpoint's request line without method and version; empty for nothing
}

func targetRows() []target {
	return []target{
		{"P-3 a double encoding is decoded once, and stays what it was", "/api/svc/a%252e%252e/b", 200, "/a%252e%252e/b"},
		{"P-6 a dot segment is resolved before the route is found", "/api/other/../svc/x", 200, "/x"},
		{"P-6 an encoded dot segment", "/api/svc/%2e%2e/admin", 400, ""},
		{"P-6 a half encoded dot segment", "/api/svc/.%2e/admin", 400, ""},
		{"P-6 an encoded slash that makes a dot segment", "/api/svc/..%2fadmin", 400, ""},
		{"P-6 an encoded slash before a dot segment", "/api/svc/a%2f../admin", 400, ""},
		{"P-6 doubled slashes are one", "//api///svc//x", 200, "/x"},
		{"P-6 a backslash", `/api/svc/\..\x`, 400, ""},
		{"P-6 an encoded backslash", "/api/svc/a%5cb", 400, ""},
		{"P-6 path parameters pass", "/api/svc/x;a=b/y", 200, "/x;a=b/y"},
		{"P-6 a dot segment with parameters", "/api/svc/..;a=b/x", 400, ""},
		{"P-6 NUL", "/api/svc/a%00b", 400, ""},
		{"P-6 an encoded line feed", "/api/svc/a%0ab", 400, ""},
		{"P-6 a broken percent encoding", "/api/svc/a%zz", 400, ""},
		{"P-6 a percent sign at the end", "/api/svc/a%2", 400, ""},
		{"P-6 an encoded letter is that letter", "/api/%73vc/%61", 200, "/a"},
		{"P-6 encodings are spelled in upper case", "/api/svc/%c3%a4", 200, "/%C3%A4"},
		{"P-7 a fragment", "/api/svc/x#y", 400, ""},
		{"P-8 a query with semicolons passes as it is", "/api/svc/x?x=1;y=2&z=%zz", 200, "/x?x=1;y=2&z=%zz"},
		{"P-8 an empty query passes as it is", "/api/svc/x?", 200, "/x?"},
		{"P-8 dots in a query mean nothing", "/api/svc/x?a=/../b", 200, "/x?a=/../b"},
		{"P-11 a path that leaves the service", "/api/svc/../../../etc/passwd", 400, ""},
		{"P-11 a path that leaves the prefix for none of ours", "/api/svc/../../admin", 404, ""},
		{"P-11 a path that stays", "/api/svc/a/../b/./c", 200, "/b/c"},
		{"P-13 a path through one of the gateway's own", "/health/../../config_dump", 400, ""},
		{"P-13 beside one of the gateway's own", "/health/ready/../config_dump", 404, ""},
		{"P-13 behind one of the gateway's own", "/livez/config_dump", 404, ""},
		{"P-14 an encoded slash reaches the endpoint as it is", "/api/svc/a%2Fb", 200, "/a%2Fb"},
		{"P-14 in lower case too", "/api/svc/a%2fb/c", 200, "/a%2Fb/c"},
		{"P-14 in a service's name it is no slash", "/api/svc%2Fx", 400, ""},
		{"P-14 where no route takes it", "/other/a%2Fb", 400, ""},
		{"a service without a slash is asked for its root", "/api/svc", 200, "/"},
		{"a service with a query and no slash", "/api/svc?q=1", 200, "/?q=1"},
		{"names are matched without case", "/api/SVC/x", 200, "/x"},
		{"the prefix alone", "/api/", 404, ""},
		{"an unknown service", "/api/nobody/x", 404, ""},
		{"an asterisk", "*", 400, ""},
		{"a path that does not begin with a slash", "api/svc", 400, ""},
	}
}

func TestOnePathIsMatchedAndForwarded(t *testing.T) {
	both(t, func(t *testing.T, how mode) {
		for _, row := range targetRows() {
			t.Run(row.name, func(t *testing.T) {
				up := newRecorder(t, "")
				r := newRig(t, rigConfig{how: how}, up.addr)
				got := r.send("GET " + row.target + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + marker)
				if status := statusOf(got); status != row.status {
					t.Fatalf("status %d, want %d: %.300q", status, row.status, got)
				}
				saw := up.saw()
				if row.want == "" {
					if len(saw) != 0 {
						t.Errorf("the endpoint saw %q", saw)
					}
					return
				}
				if len(saw) != 1 || !strings.HasPrefix(saw[0], "GET "+row.want+" HTTP/1.1\r\n") {
					t.Errorf("the endpoint saw %.200q, want %q", saw, row.want)
				}
			})
		}
	})
}

func TestARootPrefixTakesTheServiceFromTheFirstSegment(t *testing.T) {
	up := newRecorder(t, "")
	r := newRig(t, rigConfig{prefix: "/"}, up.addr)
	for path, want := range map[string]string{"/svc/a/b": "/a/b", "/svc": "/", "/Svc/": "/"} {
		got := r.send("GET " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		saw := up.saw()
		if statusOf(got) != 200 || !strings.HasPrefix(saw[len(saw)-1], "GET "+want+" ") {
			t.Errorf("%s: status %d, the endpoint saw %q, want %q", path, statusOf(got), saw[len(saw)-1], want)
		}
	}
	if got := r.send("GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); !strings.HasSuffix(got, "\r\n\r\nok") {
		t.Errorf("/health is the gateway's own under any prefix: %q", got)
	}
}

func TestHostsThatCouldBeReadTwoWaysAreRefused(t *testing.T) {
	rows := []struct {
		name   string
		head   string
		status int
		host   string // X-Forwarded-Host at the endpoint
	}{
		{"P-9 two hosts in one field", "GET /api/svc/x HTTP/1.1\r\nHost: a,b\r\n", 400, ""},
		{"P-9 two Host fields", "GET /api/svc/x HTTP/1.1\r\nHost: a\r\nHost: a\r\n", 400, ""},
		{"P-9 no Host", "GET /api/svc/x HTTP/1.1\r\n", 400, ""},
		{"P-9 no Host on HTTP/1.0", "GET /api/svc/x HTTP/1.0\r\n", 200, ""},
		{"P-9 a space in Host", "GET /api/svc/x HTTP/1.1\r\nHost: a b\r\n", 400, ""},
		{"P-9 user information in Host", "GET /api/svc/x HTTP/1.1\r\nHost: u@a\r\n", 400, ""},
		{"P-9 a path in Host", "GET /api/svc/x HTTP/1.1\r\nHost: a/b\r\n", 400, ""},
		{"P-9 a port that is none", "GET /api/svc/x HTTP/1.1\r\nHost: a:80x\r\n", 400, ""},
		{"P-9 an IPv6 zone", "GET /api/svc/x HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n", 400, ""},
		{"P-9 an IPv6 address with a port", "GET /api/svc/x HTTP/1.1\r\nHost: [::1]:80\r\n", 200, "[::1]:80"},
		{"P-10 the target's host wins over Host", "GET http://shop.test/api/svc/x HTTP/1.1\r\nHost: other.test\r\n", 200, "shop.test"},
		{"P-10 a target without a path", "GET http://shop.test HTTP/1.1\r\nHost: shop.test\r\n", 404, ""},
		{"P-10 a target with user information", "GET http://u:p@shop.test/api/svc/x HTTP/1.1\r\nHost: h\r\n", 400, ""},
		{"P-10 a target of another scheme", "GET ftp://shop.test/api/svc/x HTTP/1.1\r\nHost: h\r\n", 400, ""},
	}
	for _, row := range rows {
		bothNamed(t, row.name, func(t *testing.T, how mode) {
			up := newRecorder(t, "")
			r := newRig(t, rigConfig{how: how}, up.addr)
			got := r.send(row.head + "Connection: close\r\n\r\n" + marker)
			if n := strings.Count(got, "HTTP/1.1 "); n != 1 {
				t.Errorf("%d answers: %q", n, got)
			}
			if statusOf(got) != row.status {
				t.Fatalf("status %d, want %d: %q", statusOf(got), row.status, got)
			}
			if row.status != 200 {
				if saw := up.saw(); len(saw) != 0 {
					t.Errorf("the endpoint saw %q", saw)
				}
				return
			}
			if rec := r.record(); rec.host != row.host {
				t.Errorf("the log is told the host %q, want %q", rec.host, row.host)
			}
			saw := strings.Join(up.saw(), "")
			if strings.Contains(saw, "marker") {
				t.Errorf("the endpoint saw the request behind the last one: %q", saw)
			}
			if row.host == "" && strings.Contains(saw, "X-Forwarded-Host") || row.host != "" && !strings.Contains(saw, "X-Forwarded-Host: "+row.host+"\r\n") {
				t.Errorf("the endpoint saw %q, want the host %q", saw, row.host)
			}
		})
	}
}

// bothNamed runs a case by its id.
func bothNamed(t *testing.T, name string, f func(t *testing.T, how mode)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { both(t, f) })
}

// both runs a test on each way to carry a connection.
func both(t *testing.T, f func(t *testing.T, how mode)) {
	t.Helper()
	for _, how := range modes {
		t.Run(how.String(), func(t *testing.T) { f(t, how) })
	}
}
