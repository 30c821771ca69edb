package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// ClientConfig says how TLS is spoken to servers. Who the server is is always verified.
type ClientConfig struct {
	// Name is what logs and alarms call it.
	Name string
	// CA is a PEM file with the authorities that may vouch for a server; empty for those of the system.
	CA string
	// ServerName is the name that the server must prove; empty for the host of the address.
	ServerName string
	// Pair is the certificate that is shown to a server that asks; zero for none.
	Pair Files
	// Protocols that are offered by ALPN.
	Protocols []string
	// Log takes what an operator should know.
	Log *slog.Logger
}

// resumable is how many sessions are kept to be taken up again.
const resumable = 64

// Client is the client's side of TLS, whose files are followed.
type Client struct {
	cfg  ClientConfig
	ca   *followed[*x509.CertPool] // nil for the system's
	pair *followed[*Pair]          // nil for none

	state atomic.Pointer[clientState]
}

// clientState is what holds at a moment.
type clientState struct {
	tls    *tls.Config // nil while it cannot be had
	fault  error       // why
	faults []mesh.Alarm
	pairs  []*Pair
}

// OpenClient reads the files. One that cannot be used is no error here: TLS says so until it can.
func OpenClient(cfg ClientConfig) *Client {
	c := &Client{cfg: cfg}
	if cfg.CA != "" {
		c.ca = followPool(cfg.CA)
	}
	if cfg.Pair != (Files{}) {
		c.pair = followPair(cfg.Pair)
	}
	c.Look()
	return c
}

// TLS returns the configuration for new connections, which is not modified; its ServerName is empty where
// the address decides. While a file could never be read the error says which: there is no connection then,
// and no other trust in its place.
func (c *Client) TLS() (*tls.Config, error) {
	s := c.state.Load()
	return s.tls, s.fault
}

// Look reads the files that changed since the last look.
func (c *Client) Look() {
	prev := c.state.Load()
	next := &clientState{}
	changed := prev == nil
	if c.ca != nil {
		changed = c.ca.look(c.cfg.Name, c.cfg.Log) || changed
		next.add(c.ca.alarm(c.cfg.Name))
		if !c.ca.have {
			next.fault = c.ca.fault
		}
	}
	if c.pair != nil {
		changed = c.pair.look(c.cfg.Name, c.cfg.Log) || changed
		next.add(c.pair.alarm(c.cfg.Name))
		if c.pair.have {
			next.pairs = []*Pair{c.pair.value}
		} else if next.fault == nil {
			next.fault = c.pair.fault
		}
	}
	switch {
	case next.fault != nil:
	case changed:
		next.tls = c.config()
	default:
		next.tls = prev.tls
	}
	c.state.Store(next)
}

func (s *clientState) add(a mesh.Alarm, bad bool) {
	if bad {
		s.faults = append(s.faults, a)
	}
}

// config begins with no sessions: one that was made under another trust is not taken up.
func (c *Client) config() *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: c.cfg.ServerName, NextProtos: c.cfg.Protocols,
		ClientSessionCache: tls.NewLRUClientSessionCache(resumable), DynamicRecordSizingDisabled: true,
	}
	if c.ca != nil {
		cfg.RootCAs = c.ca.value
	}
	if c.pair != nil {
		cert := c.pair.value.cert
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return cfg
}

// Alarms returns what is wrong with the files, and whether the certificate is at the end of its time.
func (c *Client) Alarms(now time.Time) []mesh.Alarm {
	s := c.state.Load()
	return append(append([]mesh.Alarm(nil), s.faults...), expiries(c.cfg.Name, now, s.pairs...)...)
}
