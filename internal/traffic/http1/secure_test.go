package http1_test

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
	"sync"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/trust/certificate/certificatetest"
)

// pairTLS returns the two configurations of a connection to h.test.
func pairTLS(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	ca := certificatetest.NewAuthority(t, "ca")
	leaf := ca.Issue(t, certificatetest.Spec{Names: []string{"h.test", "127.0.0.1"}})
	return &tls.Config{Certificates: []tls.Certificate{leaf.TLS}}, &tls.Config{ServerName: "h.test", RootCAs: ca.Pool()}
}

// openTLS names no host in its handshake, as a client of an IP address.
func openTLS(t testing.TB, h exchange.Handler) *client {
	t.Helper()
	server, far, _ := secureConns(t, "127.0.0.1")
	return serveConn(t, newServer(t, h), server, far)
}

// secureConns returns both ends of a connection after the handshake.
func secureConns(t testing.TB, name string) (*http1.Secured, *tls.Conn, *exchange.Secure) {
	t.Helper()
	serverConfig, clientConfig := pairTLS(t)
	clientConfig.ServerName = name
	server, far := tcpPair(t)
	secured, secure := http1.SecureServer(server, serverConfig), (*exchange.Secure)(nil)
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { secure, err = secured.Handshake(t.Context()) })
	c := tls.Client(far, clientConfig)
	if err := c.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if wg.Wait(); err != nil {
		t.Fatal(err)
	}
	return secured, c, secure
}

// secureTalk sends raw bytes over TLS in pieces, and returns everything that comes back.
func secureTalk(t *testing.T, srv *http1.Server, pieces ...string) string {
	t.Helper()
	server, far, secure := secureConns(t, "h.test")
	c := http1.NewConn(srv, server)
	c.Introduce(netip.AddrPort{}, netip.AddrPort{}, secure)
	var wg sync.WaitGroup
	wg.Go(func() { c.Serve(t.Context(), never) })
	for _, p := range pieces {
		_, _ = io.WriteString(far, p)
	}
	_ = far.CloseWrite()
	b, err := io.ReadAll(far)
	if err != nil {
		t.Errorf("the connection ends with %v, want a farewell", err)
	}
	_ = far.Close()
	wg.Wait()
	return string(b)
}

func TestAHostThatTheHandshakeDidNotNameIsMisdirected(t *testing.T) {
	for _, tc := range []struct {
		name, host string
		status     string
	}{
		{"the same", "h.test", "200"},
		{"with a port", "h.test:8443", "200"},
		{"with a final dot", "h.test.", "200"},
		{"with both", "h.test.:443", "200"},
		{"in another case", "H.Test", "200"},
		{"another", "other.test", "421"},
		{"a part", "h.tes", "421"},
		{"a longer one", "h.testx", "421"},
		{"below", "a.h.test", "421"},
		{"two final dots", "h.test..", "4"},
		{"an address", "127.0.0.1", "421"},
		{"an IPv6 address", "[::1]:443", "421"},
	} {
		t.Run("P-5 "+tc.name, func(t *testing.T) {
			got := secureTalk(t, newServer(t, serveFunc(sayOK)), "GET / HTTP/1.1\r\nHost: "+tc.host+"\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(got, "HTTP/1.1 "+tc.status) || tc.status == "421" && !strings.Contains(got, exchange.CodeMisdirected) {
				t.Errorf("got %q, want %s", got, tc.status)
			}
		})
	}
	t.Run("P-5 the absolute target counts", func(t *testing.T) {
		got := secureTalk(t, newServer(t, serveFunc(sayOK)), "GET https://other.test/ HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 4") {
			t.Errorf("got %q", got)
		}
	})
}

func TestRequestsOverTLSComeInAnyPieces(t *testing.T) {
	const request = "POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 3\r\n\r\nabc"
	for _, size := range []int{1, 2, 7, len(request), 2 * len(request), 5 * len(request)} {
		whole := strings.Repeat(request, 5)
		var pieces []string
		for len(whole) > 0 {
			n := min(size, len(whole))
			pieces, whole = append(pieces, whole[:n]), whole[n:]
		}
		got := secureTalk(t, newServer(t, serveFunc(sayOK)), pieces...)
		if n := strings.Count(got, "HTTP/1.1 200"); n != 5 {
			t.Errorf("pieces of %d: %d answers in %q", size, n, got)
		}
	}
}

func TestACutAnswerOverTLSIsSeenToBeCut(t *testing.T) {
	// To an HTTP/1.0 client an answer without a length ends with the connection: only the farewell of TLS
	// tells a whole one from a cut one.
	for _, cut := range []bool{false, true} {
		h := serveFunc(func(_ context.Context, x *exchange.Exchange) {
			_ = x.Answer.Start(&exchange.Head{Status: 200, Length: exchange.Unknown})
			_ = x.Answer.Write([]byte("part"), false)
			if !cut {
				_ = x.Answer.End(nil)
			}
		})
		server, far, _ := secureConns(t, "127.0.0.1")
		c := http1.NewConn(newServer(t, h), server)
		var wg sync.WaitGroup
		wg.Go(func() { c.Serve(t.Context(), never) })
		_, _ = io.WriteString(far, "GET / HTTP/1.0\r\n\r\n")
		b, err := io.ReadAll(far)
		if (err != nil) != cut {
			t.Errorf("cut: %v: the client got %q, %v", cut, b, err)
		}
		_ = far.Close()
		wg.Wait()
	}
}

func TestABrokenOffConnectionWaitsForNobody(t *testing.T) {
	writing := make(chan struct{})
	h := serveFunc(func(_ context.Context, x *exchange.Exchange) {
		_ = x.Answer.Start(&exchange.Head{Status: 200, Length: exchange.Unknown})
		for p := make([]byte, 1<<16); x.Answer.Write(p, false) == nil; {
			select {
			case writing <- struct{}{}:
			default:
			}
		}
	})
	server, far, _ := secureConns(t, "127.0.0.1")
	defer far.Close()
	c := http1.NewConn(newServer(t, h), server)
	done := make(chan struct{})
	go func() { defer close(done); c.Serve(t.Context(), never) }()
	_, _ = io.WriteString(far, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-writing // and the client never reads
	c.Abort()
	select {
	case <-done:
	case <-time.After(3 * time.Second):
		t.Error("it goes on")
	}
}

// secureEndpoint serves TLS connections with a raw answer for each request, and hands each connection to
// after when it has answered once.
func secureEndpoint(t *testing.T, cfg *tls.Config, answer string, after func(n int, c *tls.Conn)) string {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			wg.Go(func() {
				br := bufio.NewReader(c)
				for {
					if _, err := http.ReadRequest(br); err != nil {
						return
					}
					_, _ = io.WriteString(c, answer)
					if after != nil {
						after(n, c.(*tls.Conn))
					}
				}
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().String()
}

func fixed(cfg *tls.Config) func() (*tls.Config, error) {
	return func() (*tls.Config, error) { return cfg, nil }
}

func ask(t *testing.T, p *http1.Pool) *http1.Link {
	t.Helper()
	l, err := p.Get(t.Context(), 5*time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Send([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	head, err := l.Receive([]byte("GET"), 5*time.Second, noAnswer{})
	if err != nil || head.Status != 200 {
		t.Fatalf("answer: %+v, %v", head, err)
	}
	l.Skip()
	return l
}

func TestLinksOverTLSAreKeptAndTakenAgain(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server, client := pairTLS(t)
		server.MaxVersion = version
		addr := secureEndpoint(t, server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", nil)
		cfg := http1.DefaultLinkConfig()
		p := http1.NewSecurePool(addr, &cfg, fixed(client))
		for range 5 {
			ask(t, p).Release()
		}
		if n := p.Open(); n != 1 {
			t.Errorf("version %x: %d links for five requests in turn, want 1", version, n)
		}
		p.Close()
	}
}

func TestALinkOverTLSThatSaidSomethingUnaskedIsNotUsed(t *testing.T) {
	for _, tc := range []struct {
		name  string
		after func(*tls.Conn)
	}{
		{"bytes", func(c *tls.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil") }},
		{"a farewell", func(c *tls.Conn) { _ = c.CloseWrite() }},
		{"the end of the connection", func(c *tls.Conn) { _ = c.NetConn().Close() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server, client := pairTLS(t)
			said := make(chan struct{}, 8)
			addr := secureEndpoint(t, server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", func(n int, c *tls.Conn) {
				if n == 1 {
					tc.after(c)
				}
				said <- struct{}{}
			})
			cfg := http1.DefaultLinkConfig()
			p := http1.NewSecurePool(addr, &cfg, fixed(client))
			defer p.Close()
			first := ask(t, p)
			<-said
			first.Release()
			second := ask(t, p)
			if second.Used() || second == first {
				t.Error("H1: the link was used again")
			}
			second.Release()
		})
	}
}

func TestAnEndpointMustProveItself(t *testing.T) {
	server, client := pairTLS(t)
	addr := secureEndpoint(t, server, "", nil)
	cfg := http1.DefaultLinkConfig()
	named := client.Clone()
	named.ServerName = "" // the address is the name
	if l, err := http1.NewSecurePool(addr, &cfg, fixed(named)).Get(t.Context(), 5*time.Second, nil); err != nil {
		t.Errorf("the host of the address: %v", err)
	} else {
		l.Close()
	}
	if named.ServerName != "" {
		t.Error("a shared configuration was modified")
	}
	stranger := client.Clone()
	stranger.ServerName = "other.test"
	for name, secure := range map[string]func() (*tls.Config, error){
		"another name":            fixed(stranger),
		"without the authority":   fixed(&tls.Config{ServerName: "h.test"}),
		"without a config at all": func() (*tls.Config, error) { return nil, errors.New("no file") },
	} {
		_, err := http1.NewSecurePool(addr, &cfg, secure).Get(t.Context(), 5*time.Second, nil)
		if !errors.Is(err, http1.ErrDial) || errors.Is(err, http1.ErrHandshake) == errors.Is(err, http1.ErrTrust) {
			t.Errorf("U-1 %s: %v", name, err)
		}
	}
}

func TestAHandshakeThatHangsEndsInTime(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, client := pairTLS(t)
	cfg := http1.DefaultLinkConfig()
	began := time.Now()
	_, err = http1.NewSecurePool(ln.Addr().String(), &cfg, fixed(client)).Get(t.Context(), 100*time.Millisecond, nil)
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() || !errors.Is(err, http1.ErrHandshake) || time.Since(began) > 3*time.Second {
		t.Errorf("U-1: after %v: %v", time.Since(began), err)
	}
}
