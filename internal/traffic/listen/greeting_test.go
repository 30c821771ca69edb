package listen_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/listen"
	"github.com/toska-mesh/toska-mesh/internal/trust/certificate/certificatetest"
)

// telling answers with what a request that goes on would say, and the client's address.
type telling struct{}

func (telling) ServeExchange(_ context.Context, x *exchange.Exchange) {
	b := http1.AppendRequest(nil, &x.Request, &http1.Forward{Path: x.Request.Path})
	_ = x.Answer.Start(&exchange.Head{Status: 200, Length: int64(len(b))})
	_ = x.Answer.Write(b, true)
	_ = x.Answer.End(nil)
}

// secure makes a bench speak TLS for h.test; client is what its clients use.
func secure(t *testing.T, change func(*tls.Config)) (server func(*listen.Server), client *tls.Config, ca *certificatetest.Authority) {
	t.Helper()
	ca = certificatetest.NewAuthority(t, "ca")
	leaf := ca.Issue(t, certificatetest.Spec{Names: []string{"h.test"}})
	cfg := &tls.Config{Certificates: []tls.Certificate{leaf.TLS}}
	if change != nil {
		change(cfg)
	}
	return func(s *listen.Server) {
		s.TLS, s.HTTP.Scheme, s.HTTP.Handler = cfg, "https", telling{}
		s.Counts = new(listen.Counts)
	}, &tls.Config{ServerName: "h.test", RootCAs: ca.Pool()}, ca
}

func trusted(a netip.Addr) bool { return a.IsLoopback() }

// get sends a request over conn and returns the status and the body of its answer.
func get(t *testing.T, conn net.Conn, fields string) (int, string) {
	t.Helper()
	_, _ = io.WriteString(conn, "GET /p HTTP/1.1\r\nHost: h.test\r\n"+fields+"\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func waitCount(t *testing.T, what string, load func() int64, want int64) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); load() != want; <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: %d, want %d", what, load(), want)
		}
	}
}

func TestRequestsComeOverTLS(t *testing.T) {
	server, client, _ := secure(t, nil)
	b := start(t, server)
	c := tls.Client(b.dial(), client)
	for range 3 {
		status, body := get(t, c, "X-Forwarded-Proto: http\r\n")
		if status != 200 || !strings.Contains(body, "X-Forwarded-Proto: https\r\n") || strings.Contains(body, "Client-Cert") {
			t.Fatalf("I-7: got %d, %q", status, body)
		}
	}
	// An idle connection ends with a farewell when the server drains.
	b.stop()
	if p, err := io.ReadAll(c); len(p) != 0 || err != nil {
		t.Errorf("the idle connection ended with %q, %v", p, err)
	}
	if err := b.ended(2 * time.Second); err != nil {
		t.Error(err)
	}
}

func TestClientCertificatesGoOnAndNobodyElsesDo(t *testing.T) {
	const spoofed = "Client-Cert: :ZXZpbA==:\r\nclient-cert-chain: :ZXZpbA==:\r\nCLIENT_CERT: x\r\nClient.Cert: x\r\nX-Forwarded-Client-Cert: By=evil\r\n" +
		"X-Client-Cert: evil\r\nX-SSL-Client-Cert: evil\r\nX-SSL-Cert: evil\r\nSSL-Client-Cert: evil\r\nX-ARR-ClientCert: evil\r\nX-Client-Certificate: evil\r\n" +
		"Connection: Client-Cert\r\n"
	server, client, ca := secure(t, func(c *tls.Config) { c.ClientAuth = tls.VerifyClientCertIfGiven })
	leaf := ca.Issue(t, certificatetest.Spec{Subject: "someone"})
	b := start(t, func(s *listen.Server) {
		server(s)
		s.TLS.ClientCAs = ca.Pool()
		s.HTTP.Trusted = trusted // no proxy's word counts for this either
	})
	for _, with := range []bool{false, true} {
		cfg := client.Clone()
		if with {
			cfg.Certificates = []tls.Certificate{leaf.TLS}
		}
		_, body := get(t, tls.Client(b.dial(), cfg), spoofed)
		lower := strings.ToLower(body)
		if strings.Contains(lower, "evil") || strings.Contains(body, "ZXZpbA") || strings.Contains(body, ": x\r\n") {
			t.Errorf("I-9: with a certificate: %v: what the client said of itself went on: %q", with, body)
		}
		if got := strings.Count(lower, "client-cert: :"); (got == 1) != with || got > 1 {
			t.Errorf("I-9, I-3: with a certificate: %v: %d fields of ours in %q", with, got, body)
		}
	}
}

func TestTheChainOfAClientGoesOn(t *testing.T) {
	server, client, ca := secure(t, func(c *tls.Config) { c.ClientAuth = tls.RequireAndVerifyClientCert })
	leaf := ca.Issue(t, certificatetest.Spec{Subject: "someone"}).TLS
	other := ca.Issue(t, certificatetest.Spec{Subject: "behind"}).TLS
	leaf.Certificate = append(leaf.Certificate, other.Certificate[0], other.Certificate[0])
	b := start(t, func(s *listen.Server) { server(s); s.TLS.ClientCAs = ca.Pool() })
	client.Certificates = []tls.Certificate{leaf}
	_, body := get(t, tls.Client(b.dial(), client), "")
	_, chain, ok := strings.Cut(body, "Client-Cert-Chain: ")
	chain, _, _ = strings.Cut(chain, "\r\n")
	if items := strings.Split(chain, ", "); !ok || len(items) != 2 || items[0] != items[1] || items[0][0] != ':' || !strings.HasSuffix(items[0], ":") {
		t.Errorf("the chain is %q", chain)
	}
}

func TestHandshakesThatFailAreCounted(t *testing.T) {
	server, client, _ := secure(t, func(c *tls.Config) { c.MinVersion = tls.VersionTLS12 })
	b := start(t, server)
	failures := b.srv.Counts.Handshakes.Load
	c := b.dial() // looks whether somebody listens
	_ = c.Close()
	old := client.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	if err := tls.Client(b.dial(), old).HandshakeContext(t.Context()); err == nil {
		t.Error("TLS 1.1 was spoken")
	}
	waitCount(t, "failed handshakes", failures, 1)
	c = b.dial()
	_, _ = io.WriteString(c, "\x16\x03\x01\x00\x04oops")
	_, _ = io.ReadAll(c)
	waitCount(t, "failed handshakes", failures, 2)
	c = b.dial()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h.test\r\n\r\n")
	if p, _ := io.ReadAll(c); !strings.HasPrefix(string(p), "HTTP/1.1 400 ") || !strings.HasSuffix(string(p), "begin the URL with https\n") {
		t.Errorf("a client that speaks HTTP got %q", p)
	}
	waitCount(t, "failed handshakes", failures, 3)
	if status, _ := get(t, tls.Client(b.dial(), client), ""); status != 200 {
		t.Errorf("after that a good one got %d", status)
	}
}

func TestAHandshakeThatTricklesEndsInTimeAndOthersAreServed(t *testing.T) {
	server, client, _ := secure(t, nil)
	b := start(t, func(s *listen.Server) { server(s); s.Greeting = 200 * time.Millisecond })
	began := time.Now()
	slow := make([]net.Conn, 20)
	for i := range slow {
		slow[i] = b.dial()
		_, _ = io.WriteString(slow[i], "\x16\x03\x01\x02\x00\x01")
	}
	if status, _ := get(t, tls.Client(b.dial(), client), ""); status != 200 {
		t.Errorf("W-9: among slow handshakes a good one got %d", status)
	}
	for _, c := range slow {
		for {
			if _, err := io.WriteString(c, "\x00"); err != nil {
				break
			}
			<-time.After(20 * time.Millisecond)
		}
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("W-9: they lasted %v", took)
	}
	waitCount(t, "failed handshakes", b.srv.Counts.Handshakes.Load, int64(len(slow)))
}

func TestASlowHandshakeDoesNotHoldUpTheEnd(t *testing.T) {
	server, _, _ := secure(t, nil)
	b := start(t, server)
	c := b.dial()
	_, _ = io.WriteString(c, "\x16\x03\x01")
	b.waitOpen(1)
	b.stop()
	if err := b.ended(3 * time.Second); err != nil {
		t.Error(err)
	}
}

func TestAnExchangeOverTLSThatOutlastsTheGraceIsBrokenOff(t *testing.T) {
	server, client, _ := secure(t, nil)
	b := start(t, func(s *listen.Server) {
		h := s.HTTP.Handler
		server(s)
		s.HTTP.Handler, s.Grace = h, 30*time.Millisecond
	})
	c := tls.Client(b.dial(), client)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h.test\r\n\r\n")
	<-b.gate.came
	b.stop()
	if err := b.ended(3 * time.Second); err != nil {
		t.Error(err)
	}
	if p, _ := io.ReadAll(c); len(p) > 0 {
		t.Errorf("the client got %q", p)
	}
}

func TestAProxySpeaksForItsClients(t *testing.T) {
	for _, tc := range []struct{ name, header, client string }{
		{"version 1", "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n", "192.0.2.1"},
		{"version 1 over IPv6", "PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "2001:db8::1"},
		{"version 2", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\x0a\x00\x00\x01\xdc\x04\x01\xbb", "192.0.2.1"},
		{"the proxy itself", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "127.0.0.1"},
		{"nobody that it knows", "PROXY UNKNOWN\r\n", "127.0.0.1"},
	} {
		for _, over := range []string{"plain", "TLS"} {
			t.Run(tc.name+" over "+over, func(t *testing.T) {
				server, client, _ := secure(t, nil)
				b := start(t, func(s *listen.Server) {
					server(s)
					s.Proxied, s.HTTP.Trusted = true, trusted
					if over == "plain" {
						s.TLS = nil
					}
				})
				c := b.dial()
				_, _ = io.WriteString(c, tc.header)
				if over == "TLS" {
					c = tls.Client(c, client)
				}
				for range 2 {
					// What the client says of a way before it counts only where the client is trusted itself.
					status, body := get(t, c, "X-Forwarded-For: 203.0.113.9\r\n")
					want := "X-Forwarded-For: " + tc.client + "\r\n"
					if tc.client == "127.0.0.1" {
						want = "X-Forwarded-For: 203.0.113.9, 127.0.0.1\r\n"
					}
					if status != 200 || !strings.Contains(body, want) {
						t.Errorf("got %d, %q; want %s", status, body, want)
					}
				}
			})
		}
	}
}

func TestOnlyTrustedProxiesSpeakForOthers(t *testing.T) {
	const header, request = "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n", "GET / HTTP/1.1\r\nHost: h.test\r\n\r\n"
	for _, tc := range []struct {
		name    string
		proxied bool
		trusted func(netip.Addr) bool
		raw     string
		want    string // how the answer begins; empty: closed
		counted int64
	}{
		{"from a stranger", true, func(netip.Addr) bool { return false }, header + request, "", 1},
		{"where nobody is trusted", true, nil, header + request, "", 1},
		{"without a header", true, trusted, request, "", 1},
		{"a second header", true, trusted, header + header + request, "HTTP/1.1 400 ", 0},
		{"where none is expected", false, trusted, header + request, "HTTP/1.1 400 ", 0},
		{"where none is expected, in binary", false, trusted, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\x0a\x00\x00\x01\xdc\x04\x01\xbb" + request, "HTTP/1.1 400 ", 0},
		{"from a trusted proxy", true, trusted, header + request, "HTTP/1.1 200 ", 0},
	} {
		t.Run("I-10 "+tc.name, func(t *testing.T) {
			b := start(t, func(s *listen.Server) {
				s.Proxied, s.HTTP.Trusted, s.HTTP.Handler = tc.proxied, tc.trusted, telling{}
				s.Counts = new(listen.Counts)
			})
			c := b.dial()
			_, _ = io.WriteString(c, tc.raw)
			_ = c.(*net.TCPConn).CloseWrite()
			p, err := io.ReadAll(c)
			if err != nil && tc.want != "" {
				t.Error(err)
			}
			if got := string(p); tc.want == "" && got != "" || !strings.HasPrefix(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			waitCount(t, "refused headers", b.srv.Counts.Headers.Load, tc.counted)
		})
	}
}

func TestAHeaderThatDoesNotComeEndsTheConnection(t *testing.T) {
	b := start(t, func(s *listen.Server) {
		s.Proxied, s.HTTP.Trusted, s.Greeting = true, trusted, 100*time.Millisecond
		s.Counts = new(listen.Counts)
	})
	c := b.dial()
	_, _ = io.WriteString(c, "PROXY TCP4 192.")
	if p, err := io.ReadAll(c); len(p) > 0 || err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %q, %v", p, err)
	}
	waitCount(t, "refused headers", b.srv.Counts.Headers.Load, 1)
}
