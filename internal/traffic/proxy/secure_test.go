package proxy_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/proxy"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/trust/certificate/certificatetest"
)

// secureUpstream counts what it is asked.
type secureUpstream struct {
	addr            string
	conns, requests atomic.Int64
	last            atomic.Pointer[string]
}

func newSecureUpstream(t *testing.T, cfg *tls.Config) *secureUpstream {
	t.Helper()
	ln := listenLocal(t)
	u := &secureUpstream{addr: ln.Addr().String()}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.requests.Add(1)
		b, _ := io.ReadAll(r.Body)
		said := fmt.Sprintf("%s %s %d", r.Method, r.Host, len(b))
		u.last.Store(&said)
		_, _ = io.WriteString(w, "ok")
	}), ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			u.conns.Add(1)
		}
	}}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(tls.NewListener(ln, cfg)) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return u
}

func TestEndpointsAreSpokenToOverTLS(t *testing.T) {
	ca := certificatetest.NewAuthority(t, "ca")
	up := newSecureUpstream(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, certificatetest.Spec{Names: []string{"127.0.0.1"}}).TLS}})
	r := newRig(t, rigConfig{secure: func() (*tls.Config, error) { return &tls.Config{RootCAs: ca.Pool()}, nil }}, up.addr)
	c := r.dial()
	for range 5 {
		if _, err := io.WriteString(c, get("")); err != nil {
			t.Fatal(err)
		}
		if resp := answers(t, c, "GET", 1)[0]; resp.StatusCode != 200 {
			t.Fatalf("got %d", resp.StatusCode)
		}
	}
	if up.conns.Load() != 1 || up.requests.Load() != 5 {
		t.Errorf("%d connections for %d requests, want 1 for 5", up.conns.Load(), up.requests.Load())
	}
	if status, _, err := r.once(post("Content-Length: 300000\r\nConnection: close\r\n", strings.Repeat("a", 300_000))); status != 200 || err != nil {
		t.Errorf("got %d, %v", status, err)
	}
	if got, want := *up.last.Load(), "POST "+up.addr+" 300000"; got != want {
		t.Errorf("the endpoint saw %q, want %q", got, want)
	}
}

func TestTLSThatDoesNotComeAboutIsToldApartAndNothingIsSentWithoutIt(t *testing.T) {
	ca, foreign := certificatetest.NewAuthority(t, "ca"), certificatetest.NewAuthority(t, "foreign")
	good := certificatetest.Spec{Names: []string{"127.0.0.1"}}
	now := time.Now()
	serving := func(leaf *certificatetest.Leaf, change func(*tls.Config)) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			cfg := &tls.Config{Certificates: []tls.Certificate{leaf.TLS}}
			if change != nil {
				change(cfg)
			}
			up := newSecureUpstream(t, cfg)
			t.Cleanup(func() {
				if n := up.requests.Load(); n != 0 {
					t.Errorf("U-1: the endpoint got %d requests", n)
				}
			})
			return up.addr
		}
	}
	trusting := func() (*tls.Config, error) { return &tls.Config{RootCAs: ca.Pool()}, nil }
	for _, tc := range []struct {
		name     string
		endpoint func(*testing.T) string
		secure   func() (*tls.Config, error)
		status   int
		code     string
	}{
		{"expired", serving(ca.Issue(t, certificatetest.Spec{Names: good.Names, NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}), nil), trusting, 502, proxy.CodeTLSExpired},
		{"not yet valid", serving(ca.Issue(t, certificatetest.Spec{Names: good.Names, NotBefore: now.Add(time.Hour)}), nil), trusting, 502, proxy.CodeTLSExpired},
		{"wrong SAN", serving(ca.Issue(t, certificatetest.Spec{Names: []string{"other.test", "127.0.0.2"}}), nil), trusting, 502, proxy.CodeTLSName},
		{"no SAN", serving(ca.Issue(t, certificatetest.Spec{Subject: "127.0.0.1"}), nil), trusting, 502, proxy.CodeTLSName},
		{"unknown CA", serving(foreign.Issue(t, good), nil), trusting, 502, proxy.CodeTLSUnknownCA},
		{"old version", serving(ca.Issue(t, good), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), trusting, 502, proxy.CodeTLSHandshake},
		{"wants a certificate of us", serving(ca.Issue(t, good), func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool() }), trusting, 502, proxy.CodeTLSHandshake},
		{"wants a certificate of us in TLS 1.2", serving(ca.Issue(t, good), func(c *tls.Config) {
			c.ClientAuth, c.ClientCAs, c.MaxVersion = tls.RequireAndVerifyClientCert, ca.Pool(), tls.VersionTLS12
		}), trusting, 502, proxy.CodeTLSHandshake},
		{"our files cannot be used", serving(ca.Issue(t, good), nil), func() (*tls.Config, error) { return nil, errors.New("no file") }, 503, proxy.CodeTLSMaterial},
		{"refuses", func(t *testing.T) string { t.Helper(); return dead(t) }, trusting, 502, proxy.CodeRefused},
		{"hangs in the handshake", hangs, trusting, 504, proxy.CodeTLSTimeout},
		{"closes in the handshake", rawEndpoint("", true), trusting, 502, proxy.CodeTLSHandshake},
		{"speaks HTTP without TLS", rawEndpoint("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", false), trusting, 502, proxy.CodeTLSHandshake},
	} {
		t.Run("U-1 "+tc.name, func(t *testing.T) {
			r := newRig(t, rigConfig{secure: tc.secure, policy: route.Policy{Connect: 300 * time.Millisecond}}, tc.endpoint(t))
			status, body, err := r.once(post("Content-Length: 6\r\nConnection: close\r\n", "secret"))
			if status != tc.status || !strings.Contains(body, `"code":"`+tc.code+`"`) || err != nil {
				t.Errorf("got %d, %q, %v; want %d with %s", status, body, err, tc.status, tc.code)
			}
			if rec := r.record(); rec.Code != tc.code || rec.Attempts != 1 || rec.Reason == "" {
				t.Errorf("recorded %+v", rec.Record)
			}
		})
	}
}

// hangs is an endpoint that accepts and says nothing.
func hangs(t *testing.T) string {
	t.Helper()
	ln := listenLocal(t)
	t.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().String()
}

// rawEndpoint is an endpoint without TLS that fails the test when it sees a request.
func rawEndpoint(answer string, closes bool) func(*testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		ln := listenLocal(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				if !closes {
					_ = c.SetReadDeadline(time.Now().Add(time.Second))
					p, _ := bufio.NewReader(c).Peek(16)
					if strings.Contains(string(p), "HTTP") || strings.Contains(string(p), "POST") {
						t.Errorf("U-1: a request came without TLS: %q", p)
					}
					_, _ = io.WriteString(c, answer)
				}
				_ = c.Close()
			}
		}()
		t.Cleanup(func() { _ = ln.Close(); <-done })
		return ln.Addr().String()
	}
}

func TestAnotherEndpointIsTriedWhereTLSDidNotComeAbout(t *testing.T) {
	ca := certificatetest.NewAuthority(t, "ca")
	good := newSecureUpstream(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, certificatetest.Spec{Names: []string{"127.0.0.1"}}).TLS}})
	bad := newSecureUpstream(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, certificatetest.Spec{Names: []string{"other.test"}}).TLS}})
	r := newRig(t, rigConfig{secure: func() (*tls.Config, error) { return &tls.Config{RootCAs: ca.Pool()}, nil }}, good.addr, bad.addr)
	for range 10 {
		if status, _, err := r.once(post("Content-Length: 1\r\nConnection: close\r\n", "a")); status != 200 || err != nil {
			t.Fatalf("got %d, %v", status, err)
		}
	}
}

func TestAWebSocketGoesThroughTLSOnBothSides(t *testing.T) {
	ca := certificatetest.NewAuthority(t, "ca")
	ln := listenLocal(t)
	cfg := &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, certificatetest.Spec{Names: []string{"127.0.0.1", "h.test"}}).TLS}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		s := tls.Server(c, cfg)
		br := bufio.NewReader(s)
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(s, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		for { // an echo, to the farewell
			f, err := readFrame(br)
			if err != nil {
				break
			}
			_, _ = io.WriteString(s, unmasked(f.first, f.payload))
		}
		_ = s.CloseWrite()
	}()
	r := newRig(t, rigConfig{secure: func() (*tls.Config, error) { return &tls.Config{RootCAs: ca.Pool()}, nil }, listenTLS: cfg}, ln.Addr().String())
	c := tls.Client(r.dial(), &tls.Config{RootCAs: ca.Pool(), ServerName: "h.test"})
	_, _ = io.WriteString(c, "GET /api/svc/ws HTTP/1.1\r\nHost: h.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("got %+v, %v", resp, err)
	}
	for _, n := range []int{1, 5, 20_000, 3} {
		sent := strings.Repeat("x", n)
		go func() { _, _ = io.WriteString(c, masked(opText, sent)) }()
		if f, err := readFrame(br); err != nil || f.masked || f.payload != sent {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	_, _ = io.WriteString(c, masked(opClose, ""))
	if f, err := readFrame(br); err != nil || f.first != opClose {
		t.Fatalf("the farewell is %+v, %v", f, err)
	}
	if p, err := io.ReadAll(br); len(p) > 0 || err != nil {
		t.Errorf("it ends with %q, %v", p, err)
	}
	_ = ln.Close()
	<-done
}

func TestWhatATrustedProxySaysCameOverTLSIsNotRedirected(t *testing.T) {
	up := newRecorder(t, "")
	for _, trusted := range []bool{false, true} {
		r := newRig(t, rigConfig{trusted: trusted, redirect: "443"}, up.addr)
		status, _, err := r.once(get("X-Forwarded-Proto: https\r\nConnection: close\r\n"))
		if want := map[bool]int{false: 308, true: 200}[trusted]; status != want || err != nil {
			t.Errorf("I-7: trusted: %v: got %d, %v; want %d", trusted, status, err, want)
		}
	}
}

func TestWhereARequestIsOverTLS(t *testing.T) {
	r := newRig(t, rigConfig{redirect: "443"})
	for _, tc := range []struct{ name, raw, want string }{
		{"a port of the client's is left out", "GET /x?a=b HTTP/1.1\r\nHost: h.test:8080\r\n", "https://h.test/x?a=b"},
		{"an empty query stays", "GET /x? HTTP/1.1\r\nHost: h.test\r\n", "https://h.test/x?"},
		{"an IPv6 address", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n", "https://[::1]/"},
		{"an absolute target", "GET http://h.test:80/a HTTP/1.1\r\nHost: h.test:80\r\n", "https://h.test/a"},
		{"a canonical path", "GET /a/../%41 HTTP/1.1\r\nHost: h.test\r\n", "https://h.test/A"},
		{"a path that looks like a host", "GET //evil.test/a HTTP/1.1\r\nHost: h.test\r\n", "https://h.test/evil.test/a"},
		{"a body", "POST /x HTTP/1.1\r\nHost: h.test\r\nContent-Length: 3\r\n", "https://h.test/x"},
		{"no host", "GET /x HTTP/1.0\r\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := r.send(tc.raw + "Connection: close\r\n\r\nabc")
			if tc.want == "" {
				if !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, "TOSKA-REQ-HOST") {
					t.Errorf("got %q", got)
				}
				return
			}
			if !strings.HasPrefix(got, "HTTP/1.1 308 ") || !strings.Contains(got, "Location: "+tc.want+"\r\n") {
				t.Errorf("got %q, want %s", got, tc.want)
			}
		})
	}
}
