package probers_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/toska-mesh/toska-mesh/internal/backend/probers"
	"github.com/toska-mesh/toska-mesh/internal/signal/probe"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// targetOf is the target of a server with a check.
func targetOf(t *testing.T, address string, check mesh.Check) *probe.Target {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return &probe.Target{Service: "web", ID: "web-1", Address: host, Check: probe.Filled(check, n)}
}

func do(t *testing.T, p *probers.Prober, target *probe.Target) (probe.Result, time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), target.Check.Timeout)
	defer cancel()
	begin := time.Now()
	r := p.Probe(ctx, target)
	return r, time.Since(begin)
}

const timeout = 500 * time.Millisecond

// TestHTTPProbes has each answer that a check may give, good and bad, from a real server.
func TestHTTPProbes(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a probe came to a server that no instance registered")
	}))
	defer elsewhere.Close()
	endless := func(w http.ResponseWriter, r *http.Request, chunk []byte, n int, pause time.Duration) {
		for range n {
			if _, err := w.Write(chunk); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(pause):
			}
		}
	}
	for _, tt := range []struct {
		name   string
		serve  http.HandlerFunc
		ok     bool
		output string // exactly, or as its beginning with a … at the end
		atMost time.Duration
	}{
		{"200 passes", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "all\r\n\twell\x1b[31m\x00") }, true, "200 OK: all well [31m", timeout},
		{"204 passes", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, true, "204 No Content", timeout},
		{"HTTP 500 fails with what it says", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "disk full", 500) },
			false, "500 Internal Server Error: disk full", timeout},
		{"404 fails", http.NotFound, false, "404 Not Found: 404 page not found", timeout},
		{"304 fails", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, false, "304 Not Modified", timeout},
		{"1 GB passes and is not read", func(w http.ResponseWriter, r *http.Request) {
			endless(w, r, []byte(strings.Repeat("x", 1<<20)), 1<<10, 0)
		}, true, "200 OK: xxx…", timeout},
		{"1 byte a second fails at the timeout", func(w http.ResponseWriter, r *http.Request) {
			endless(w, r, []byte("x"), 60, time.Second)
		}, false, "answered 200, and its body broke off: it took longer than the whole probe may", 2 * timeout},
		{"nothing fails at the timeout", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, false, "no whole answer within …", 2 * timeout},
		{"a connection that is dropped fails", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			false, "closed the connection without an answer", timeout},
		{"a head without an end fails", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
		}, false, "net/http: HTTP/1.x transport connection broken: net/http: server response headers exceeded …", timeout},
		{"a redirect on the same server is followed", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/health" {
				http.Redirect(w, r, "http://"+strings.ToUpper(r.Host)+"/deeper", http.StatusFound)
			}
			if r.Header.Get("Referer") != "" {
				t.Error("the probe tells where it was sent from")
			}
		}, true, "200 OK", timeout},
		{"a redirect elsewhere is not", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/x", http.StatusFound)
		},
			false, "answered 302 to " + elsewhere.URL + "/x, outside of what the instance registered", timeout},
		{"a redirect to another host on the same port is not", func(w http.ResponseWriter, r *http.Request) {
			_, port, _ := net.SplitHostPort(r.Host)
			http.Redirect(w, r, "http://localhost:"+port+"/", http.StatusMovedPermanently)
		}, false, "answered 301 to http://localhost:…", timeout},
		{"a redirect to another scheme is not", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+r.Host+"/", http.StatusTemporaryRedirect)
		}, false, "answered 307 to https://127.0.0.1:…", timeout},
		{"a redirect with a password is not, nor is that told", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://u:secret@"+r.Host+"/", http.StatusFound)
		}, false, "answered 302 to http://u:xxxxx@127.0.0.1:…", timeout},
		{"a ring of redirects ends", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/health", http.StatusFound) },
			false, "was sent on more than 3 times, last to /health", timeout},
		{"a redirect to nowhere fails", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(302) }, false, "302 Found", timeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(tt.serve)
			defer srv.Close()
			p := probers.New(probers.Config{Version: "1.2.3"})
			r, took := do(t, p, targetOf(t, srv.Listener.Addr().String(), mesh.Check{HTTP: "/health", Timeout: timeout}))
			want, prefix := strings.CutSuffix(tt.output, "…")
			if r.OK != tt.ok || r.Output != want && !(prefix && strings.HasPrefix(r.Output, want)) {
				t.Errorf("Probe = %t %q, want %t %q", r.OK, r.Output, tt.ok, tt.output)
			}
			if took > tt.atMost+timeout {
				t.Errorf("took %v", took)
			}
			if len(r.Output) > 256 || strings.ContainsFunc(r.Output, unicode.IsControl) {
				t.Errorf("output %q is no line of at most 256 bytes", r.Output)
			}
		})
	}
}

func TestWhatAProbeSends(t *testing.T) {
	var got *http.Request
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got == nil || r.Header.Get("Cookie") != "" {
			got = r
		}
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
	}))
	defer srv.Close()
	p := probers.New(probers.Config{Version: "1.2.3"})
	// A server on loopback is never asked for through a proxy, so that it could not tell.
	if p.Transport().Proxy != nil {
		t.Error("a proxy may stand between the probe and the instance")
	}
	target := targetOf(t, srv.Listener.Addr().String(), mesh.Check{HTTP: "/a%2Fb?c=d"})
	for range 2 {
		if r, _ := do(t, p, target); !r.OK {
			t.Fatalf("Probe = %+v", r)
		}
	}
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	if got.Method != "GET" || got.RequestURI != "/a%2Fb?c=d" || got.Host != u.Host || got.Proto != "HTTP/1.1" || !got.Close ||
		got.UserAgent() != "toska-probe/1.2.3" || got.Header.Get("Cookie") != "" || got.Header.Get("Authorization") != "" {
		t.Errorf("request %s %s %s of %s, fields %v", got.Method, got.RequestURI, got.Proto, got.Host, got.Header)
	}
}

func TestAWrongCertificateFailsAndARightOnePasses(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	target := targetOf(t, srv.Listener.Addr().String(), mesh.Check{HTTP: "/", TLS: true})
	r, _ := do(t, probers.New(probers.Config{}), target)
	if r.OK || !strings.HasPrefix(r.Output, "the certificate is not taken: x509: ") {
		t.Errorf("a certificate that nobody knows: %+v", r)
	}
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	known := probers.New(probers.Config{Roots: roots})
	if r, _ := do(t, known, target); !r.OK || r.Output != "200 OK: HTTP/1.1" {
		t.Errorf("a right certificate: %+v", r)
	}
	if addr, ok := strings.CutPrefix(srv.Listener.Addr().String(), "127.0.0.1:"); ok {
		r, _ := do(t, known, targetOf(t, "127.0.0.2:"+addr, mesh.Check{HTTP: "/", TLS: true}))
		// Systems without the address have nobody there.
		if r.OK || !strings.Contains(r.Output, "127.0.0.2") && r.Output == "" {
			t.Errorf("another's certificate: %+v", r)
		}
	}
}

func TestTCPProbes(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	p := probers.New(probers.Config{})
	if r, _ := do(t, p, targetOf(t, address, mesh.Check{})); !r.OK || r.Output != "accepts connections" {
		t.Errorf("an open port: %+v", r)
	}
	_ = ln.Close()
	for _, check := range []mesh.Check{{}, {HTTP: "/health"}} {
		if r, _ := do(t, p, targetOf(t, address, check)); r.OK || r.Output != "connection refused by "+address {
			t.Errorf("a port that is closed, %+v: %+v", check, r)
		}
	}
}

func TestAServerThatSpeaksNoHTTPFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		_, _ = bufio.NewReader(conn).ReadString('\n')
		_, _ = io.WriteString(conn, "SSH-2.0-x\r\n\r\n")
		_ = conn.Close()
	}()
	r, _ := do(t, probers.New(probers.Config{}), targetOf(t, ln.Addr().String(), mesh.Check{HTTP: "/"}))
	if r.OK || !strings.Contains(r.Output, "malformed HTTP") {
		t.Errorf("Probe = %+v", r)
	}
	_ = ln.Close()
	<-done
}

// A name that resolves to loopback leads to this node's own machine; the address itself is what a program
// beside the node registers.
func TestANameThatResolvesToLoopbackIsRefused(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	port := srv.Listener.Addr().(*net.TCPAddr).Port
	p := probers.New(probers.Config{})
	for _, check := range []mesh.Check{{}, {HTTP: "/"}} {
		r, _ := do(t, p, targetOf(t, fmt.Sprintf("localhost:%d", port), check))
		if r.OK || !strings.Contains(r.Output, "localhost resolves to the loopback address") {
			t.Errorf("by its name, %+v: %+v", check, r)
		}
		if r, _ := do(t, p, targetOf(t, fmt.Sprintf("127.0.0.1:%d", port), check)); !r.OK {
			t.Errorf("by its address, %+v: %+v", check, r)
		}
	}
	if r, _ := do(t, p, targetOf(t, "no-such-host.invalid:80", mesh.Check{})); r.OK || !strings.Contains(r.Output, "no-such-host.invalid") {
		t.Errorf("a name that is none: %+v", r)
	}
}

func TestWhereANameMayLead(t *testing.T) {
	for _, tt := range []struct{ address, refused string }{
		{"10.0.0.7:80", ""}, {"192.168.1.1:80", ""}, {"[fd00::1]:80", ""}, {"93.184.216.34:443", ""}, {"[2001:db8::1]:80", ""},
		{"127.0.0.1:80", "loopback"}, {"127.9.9.9:80", "loopback"}, {"[::1]:80", "loopback"}, {"[::ffff:127.0.0.1]:80", "loopback"},
		{"169.254.169.254:80", "link-local"}, {"[fe80::1%1]:80", "link-local"}, {"[::ffff:169.254.169.254]:80", "link-local"},
		{"0.0.0.0:80", "unspecified"}, {"[::]:80", "unspecified"},
		{"224.0.0.1:80", "multicast"}, {"[ff02::1]:80", "multicast"},
		{"nonsense", "no address"},
	} {
		err := probers.Admit("shop.example", tt.address)
		if (err == nil) != (tt.refused == "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
			t.Errorf("a name that resolves to %s: %v, want %q", tt.address, err, tt.refused)
		}
	}
}

func TestOutputIsALineThatCanBeShown(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"  a \r\n\t b  ":          "a b",
		"\x1b]0;x\x07y":           "]0;x y",
		"a\u202eb\u2028c":         "a b c",
		"\xff\xfe":                "\ufffd\ufffd",
		strings.Repeat("é", 300):  strings.Repeat("é", 128),
		strings.Repeat("ab ", 99): strings.Repeat("ab ", 85) + "a",
	} {
		if got := probers.Line(in); got != want {
			t.Errorf("Line(%q) = %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		in := string(rapid.SliceOf(rapid.Byte()).Draw(rt, "in"))
		got := probers.Line(in)
		bad := strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) })
		if len(got) > 256 || bad || !utf8.ValidString(got) || strings.Contains(got, "  ") || probers.Line(got) != got {
			rt.Errorf("Line(%q) = %q", in, got)
		}
	})
}
