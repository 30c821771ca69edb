package proxy_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/proxyproto"
	"github.com/toska-mesh/toska-mesh/internal/trust/certificate/certificatetest"
)

func TestEndpointsAreToldOfTheClientBeforeAnythingElse(t *testing.T) {
	ca := certificatetest.NewAuthority(t, "ca")
	server := &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, certificatetest.Spec{Names: []string{"127.0.0.1"}}).TLS}}
	for _, secure := range []bool{false, true} {
		for _, version := range []int{1, 2} {
			ln := listenLocal(t)
			var mu sync.Mutex
			var headers []proxyproto.Header
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					h, err := proxyproto.Read(c)
					if err != nil {
						t.Errorf("header: %v", err)
					}
					mu.Lock()
					headers = append(headers, h)
					mu.Unlock()
					if secure {
						c = tls.Server(c, server)
					}
					// It would keep the connection.
					if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
						_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
						_, _ = io.Copy(io.Discard, c)
					}
					_ = c.Close()
				}
			}()
			cfg := rigConfig{header: version}
			if secure {
				cfg.secure = func() (*tls.Config, error) { return &tls.Config{RootCAs: ca.Pool()}, nil }
			}
			r := newRig(t, cfg, ln.Addr().String())
			c := r.dial()
			for range 3 {
				_, _ = io.WriteString(c, get(""))
				if resp := answers(t, c, "GET", 1)[0]; resp.StatusCode != 200 {
					t.Fatalf("got %d", resp.StatusCode)
				}
			}
			_ = ln.Close()
			<-done
			if len(headers) != 3 {
				t.Errorf("%d connections for three requests, want one each", len(headers))
			}
			for _, h := range headers {
				if h.Version != version || h.Source.String() != c.LocalAddr().String() || h.Destination.String() != c.RemoteAddr().String() {
					t.Errorf("version %d: the endpoint was told %+v, want %v to %v", version, h, c.LocalAddr(), c.RemoteAddr())
				}
			}
		}
	}
}
