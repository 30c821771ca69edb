package http1

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// Secured is a connection under TLS as the engine reads and ends it.
type Secured struct {
	*tls.Conn
	gate *gate
}

// SecureServer returns the server's side of TLS on a connection. Handshake comes next.
func SecureServer(conn net.Conn, cfg *tls.Config) *Secured {
	g := &gate{Conn: conn}
	return &Secured{Conn: tls.Server(g, cfg), gate: g}
}

// secureClient returns the client's side.
func secureClient(conn net.Conn, cfg *tls.Config) *Secured {
	g := &gate{Conn: conn}
	return &Secured{Conn: tls.Client(g, cfg), gate: g}
}

// Handshake makes the connection secure and says what came of it. Deadlines are the caller's: ctx ends
// nothing here.
func (s *Secured) Handshake(ctx context.Context) (*exchange.Secure, error) {
	began := time.Now()
	if err := s.HandshakeContext(context.WithoutCancel(ctx)); err != nil {
		return nil, err
	}
	state := s.ConnectionState()
	out := &exchange.Secure{
		Version: state.Version, Suite: state.CipherSuite, Resumed: state.DidResume, Took: time.Since(began),
		ServerName: strings.ToLower(strings.TrimSuffix(state.ServerName, ".")),
	}
	if len(state.VerifiedChains) > 0 {
		leaf := state.PeerCertificates[0]
		out.Subject = leaf.Subject.String()
		out.ClientCert = appendCertificate(nil, leaf)
		out.ClientCertChain = appendChain(nil, state.PeerCertificates[1:])
	}
	return out, nil
}

// appendCertificate appends a certificate as a byte sequence of structured fields (RFC 9440 section 2.1).
func appendCertificate(b []byte, c *x509.Certificate) []byte {
	b = append(b, ':')
	b = base64.StdEncoding.AppendEncode(b, c.Raw)
	return append(b, ':')
}

func appendChain(b []byte, chain []*x509.Certificate) []byte {
	for i, c := range chain {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendCertificate(b, c)
	}
	return b
}

// CloseWrite says that nothing more comes, to whoever looks at TLS and to whoever looks at the connection.
func (s *Secured) CloseWrite() error {
	if err := s.Conn.CloseWrite(); err != nil {
		return err
	}
	if half, ok := s.gate.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// breakOff closes the connection without the farewell of TLS: what was sent must not pass for whole, and
// a peer that does not read is not waited for.
func (s *Secured) breakOff() error { return s.gate.Conn.Close() }

// rest reads what of the peer's bytes has arrived already and is decrypted, or can be. It does not wait.
func (s *Secured) rest(p []byte) int {
	s.gate.shut = true
	n, _ := s.Read(p) // an error comes again with the next read
	s.gate.shut = false
	return n
}

// still reports whether TLS holds nothing of the peer's that has not been read: no bytes, no farewell.
func (s *Secured) still() bool {
	var one [1]byte
	s.gate.shut = true
	n, err := s.Read(one[:])
	s.gate.shut = false
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}

// gate is the connection below TLS. While it is shut, a read says at once that its time is up, which TLS
// bears: it goes on where it was with the next read. Only whoever reads shuts it.
type gate struct {
	net.Conn
	shut bool
}

// Read implements net.Conn.
func (g *gate) Read(p []byte) (int, error) {
	if g.shut {
		return 0, os.ErrDeadlineExceeded
	}
	return g.Conn.Read(p)
}

// Introduce tells what was learnt of the client before its first request, and before Serve: its address and
// the one that it connected to, where a proxy speaks for it, and what its TLS handshake established. Each
// may be zero.
func (c *Conn) Introduce(client, local netip.AddrPort, secure *exchange.Secure) {
	if client.IsValid() {
		c.client, c.local = client, local
	}
	c.secure = secure
}

// misdirected reports whether a request asks for another host than the handshake did: whoever decided by
// one of the names would be got round by the other.
func (c *Conn) misdirected(r *exchange.Request) bool {
	return c.secure != nil && c.secure.ServerName != "" && len(r.Host) > 0 && !sameHost(r.Host, c.secure.ServerName)
}

var errMisdirected = &exchange.ClientError{Status: 421, Code: exchange.CodeMisdirected,
	Detail: "the request is for another host than the one that its connection was made to"}

// sameHost compares a Host with a name in lower case and without a final dot.
func sameHost(host []byte, name string) bool {
	if i := bytes.IndexByte(host, ':'); i >= 0 {
		host = host[:i] // a server name is no IP address, so no colon is part of it
	}
	if len(host) == len(name)+1 && host[len(name)] == '.' {
		host = host[:len(name)]
	}
	return exchange.EqualFold(host, name)
}

// ErrHandshake is an endpoint with which TLS was not agreed, or that did not prove who it is: nothing was
// sent. ErrTrust is that our own material for it cannot be used.
var (
	ErrHandshake = errors.New("TLS handshake")
	ErrTrust     = errors.New("TLS material")
)

// handshake makes a connection to the endpoint at addr secure.
func handshake(ctx context.Context, conn net.Conn, cfg *tls.Config, addr string, until time.Time) (*Secured, error) {
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName, _, _ = net.SplitHostPort(addr) // it was dialled, so it can be split
	}
	s := secureClient(conn, cfg)
	if err := conn.SetDeadline(until); err != nil {
		return nil, err
	}
	if err := s.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return s, conn.SetDeadline(time.Time{})
}

// abandon breaks a connection, whatever is under way on it.
func abandon(conn net.Conn) {
	if s, ok := conn.(*Secured); ok {
		_ = s.breakOff()
		return
	}
	_ = conn.Close()
}

// below returns the connection that the bytes go over.
func below(conn net.Conn) net.Conn {
	if s, ok := conn.(*Secured); ok {
		return s.gate.Conn
	}
	return conn
}

// addrPort returns a TCP address, and none for any other.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
