package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/proxyproto"
)

// Counts are of connections that came to nothing.
type Counts struct {
	// Handshakes of TLS that failed.
	Handshakes atomic.Int64
	// Headers of the PROXY protocol that were missing, malformed, late, or from a peer that is not trusted.
	Headers atomic.Int64
}

const (
	// greetTime is the default of Server.Greeting.
	greetTime = 10 * time.Second
	// hurryTime is what a greeting has left once the server drains.
	hurryTime = time.Second
)

// greeting is a connection before its first request.
type greeting struct {
	conn net.Conn

	mu    sync.Mutex
	hurry bool        // guarded by mu
	past  *http1.Conn // guarded by mu; the connection that came of it
}

// Drain implements connection.
func (g *greeting) Drain() {
	g.mu.Lock()
	past := g.past
	if past == nil {
		g.hurry = true
		_ = g.conn.SetDeadline(time.Now().Add(hurryTime))
	}
	g.mu.Unlock()
	if past != nil {
		past.Drain()
	}
}

// Abort implements connection.
func (g *greeting) Abort() { _ = g.conn.Close() }

// begin sets the time by which the greeting must be over.
func (g *greeting) begin(limit time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hurry {
		limit = min(limit, hurryTime)
	}
	return g.conn.SetDeadline(time.Now().Add(limit))
}

// end makes it a connection that serves.
func (g *greeting) end(c *http1.Conn) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.past = c
	return g.conn.SetDeadline(time.Time{})
}

// greet reads what comes before requests, and serves those.
func (s *Server) greet(ctx context.Context, g *greeting) {
	c, ok := s.introduce(ctx, g)
	if !ok || g.end(c) != nil {
		_ = g.conn.Close()
		return
	}
	c.Serve(ctx, s.draining.Load)
}

// introduce reads header and handshake.
func (s *Server) introduce(ctx context.Context, g *greeting) (c *http1.Conn, ok bool) {
	defer func() {
		// What is not yet known of a stranger must not end more than the stranger's connection.
		if v := recover(); v != nil {
			s.Log.Error("panic in a greeting", "panic", v, "stack", string(debug.Stack()))
			ok = false
		}
	}()
	limit := s.Greeting
	if limit <= 0 {
		limit = greetTime
	}
	if err := g.begin(limit); err != nil {
		return nil, false
	}
	var h proxyproto.Header
	if s.Proxied {
		var err error
		if h, err = s.header(g.conn); err != nil {
			s.refused(g.conn, "PROXY header", err, &s.Counts.Headers)
			return nil, false
		}
	}
	conn := g.conn
	var secure *exchange.Secure
	if s.TLS != nil {
		secured := http1.SecureServer(g.conn, s.TLS)
		var err error
		if secure, err = secured.Handshake(ctx); err != nil {
			tellPlain(err)
			s.refused(g.conn, "TLS handshake", err, &s.Counts.Handshakes)
			return nil, false
		}
		conn = secured
	}
	c = http1.NewConn(s.HTTP, conn)
	c.Introduce(h.Source, h.Destination, secure)
	return c, true
}

// errStranger is a peer that may not speak for others.
var errStranger = errors.New("the peer is none of the trusted proxies")

func (s *Server) header(conn net.Conn) (proxyproto.Header, error) {
	peer, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok || s.HTTP.Trusted == nil || !s.HTTP.Trusted(peer.AddrPort().Addr().Unmap()) {
		return proxyproto.Header{}, errStranger
	}
	return proxyproto.Read(conn)
}

// refused counts and tells. Strangers can bring it about at will, so only those are told who debug; a
// connection that ends without a byte is one that looked whether somebody listens.
func (s *Server) refused(conn net.Conn, at string, err error, count *atomic.Int64) {
	if errors.Is(err, io.EOF) {
		return
	}
	count.Add(1)
	s.Log.Debug("connection refused before its first request", "listener", s.HTTP.Name, "peer", conn.RemoteAddr().String(),
		"at", at, "error", err)
}

// tellPlain answers a client that speaks HTTP where TLS is spoken: it would only see a closed connection.
func tellPlain(err error) {
	fault, ok := errors.AsType[tls.RecordHeaderError](err)
	if !ok || fault.Conn == nil {
		return
	}
	switch string(fault.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PATCH", "DELET":
		_, _ = io.WriteString(fault.Conn, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n"+
			"Content-Length: 49\r\n\r\nthis port speaks HTTPS: begin the URL with https\n")
	}
}
