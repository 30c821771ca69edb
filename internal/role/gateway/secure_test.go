package gateway_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/role/gateway"
	"github.com/toska-mesh/toska-mesh/internal/trust/certificate/certificatetest"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// echoing answers each head, which comes in one read, on every connection.
func echoing(t *testing.T) *net.TCPAddr {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				answer, buf := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), make([]byte, 16<<10)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().(*net.TCPAddr)
}

// talker asks over one connection.
func talker(t testing.TB, c net.Conn) func() {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	request := []byte("GET /api/web/x?y HTTP/1.1\r\nHost: shop.test\r\nAccept: */*\r\n\r\n")
	buf := make([]byte, 16<<10)
	return func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		for n := 0; !bytes.HasSuffix(buf[:n], []byte("\r\n\r\nok")); {
			k, err := c.Read(buf[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += k
		}
	}
}

func TestListenersOfEachKindAreServedAndDrainedTogether(t *testing.T) {
	ca := certificatetest.NewAuthority(t, "ca")
	cfg := &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, certificatetest.Spec{Names: []string{"shop.test"}}).TLS}}
	var listeners []gateway.Listener
	for _, l := range []gateway.Listener{{Name: "gateway"}, {Name: "gateway-tls", TLS: cfg}, {Name: "moved", RedirectPort: "8443"}} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		l.Listener = ln
		listeners = append(listeners, l)
	}
	d := newDiscovery()
	addr := echoing(t)
	d.set(snapshot(1, &mesh.Instance{ID: "a", Service: "Web", Address: "127.0.0.1", Port: addr.Port}), nil)
	g, err := gateway.New(gateway.DefaultConfig(), gateway.Ports{Discovery: d, Listeners: listeners, Internal: internal{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- g.Run(ctx, func() { close(ready) }) }()
	<-ready
	dial := func(i int) net.Conn {
		c, err := net.Dial("tcp", listeners[i].Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	plain, secure := dial(0), tls.Client(dial(1), &tls.Config{RootCAs: ca.Pool(), ServerName: "shop.test"})
	talker(t, plain)()
	once := talker(t, secure)
	once()
	moved := dial(2)
	_, _ = io.WriteString(moved, "GET /api/web/x?y HTTP/1.1\r\nHost: shop.test:80\r\nConnection: close\r\n\r\n")
	if b, _ := io.ReadAll(moved); !bytes.HasPrefix(b, []byte("HTTP/1.1 308 ")) || !bytes.Contains(b, []byte("Location: https://shop.test:8443/api/web/x?y\r\n")) {
		t.Errorf("the redirect is %q", b)
	}
	if !raceEnabled {
		for range 500 {
			once()
		}
		const requests = 3000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range requests {
			once()
		}
		runtime.ReadMemStats(&after)
		// crypto/tls takes one for each record that it reads, here and in the test itself.
		if n := float64(after.Mallocs-before.Mallocs) / requests; n > 2.1 {
			t.Errorf("%.2f allocations per request over TLS, want those of crypto/tls alone", n)
		}
	}
	stop()
	for name, c := range map[string]net.Conn{"plain": plain, "TLS": secure} {
		if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
			t.Errorf("the idle connection over %s ended with %q, %v", name, b, err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
