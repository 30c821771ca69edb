package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// ClientMode says what is asked of clients.
type ClientMode uint8

const (
	// NoClientCertificate asks for none.
	NoClientCertificate ClientMode = iota
	// VerifyIfGiven takes clients without a certificate, and refuses those whose certificate is not of a
	// trusted authority.
	VerifyIfGiven
	// RequireClientCertificate refuses clients without a certificate of a trusted authority.
	RequireClientCertificate
)

// ServerConfig says how TLS is spoken on a listener.
type ServerConfig struct {
	// Name is what logs and alarms call the listener.
	Name string
	// Pairs are its certificates, at least one. The first is for clients that name no host, or one that
	// no certificate is for.
	Pairs []Files
	// MinVersion as in crypto/tls; 0 is TLS 1.2, and nothing older is spoken.
	MinVersion uint16
	// Protocols that are offered by ALPN, the preferred first.
	Protocols []string
	// Clients says what is asked of clients, and ClientCA who vouches for them.
	Clients  ClientMode
	ClientCA string
	// Log takes what an operator should know.
	Log *slog.Logger
}

// Server is the server's side of TLS on a listener, whose files are followed.
type Server struct {
	cfg   ServerConfig
	pairs []*followed[*Pair]
	ca    *followed[*x509.CertPool] // nil where clients are not asked

	chosen atomic.Pointer[choice]
	tls    *tls.Config
	// current is the configuration with the authorities in force; nil where clients are not asked
	current atomic.Pointer[tls.Config]
	view    atomic.Pointer[serverView]
}

// serverView is what alarms are made from.
type serverView struct {
	faults []mesh.Alarm
	pairs  []*Pair
}

// OpenServer reads the files. Every one must be right: a listener does not begin with less than it was
// told to.
func OpenServer(cfg ServerConfig) (*Server, error) {
	s := &Server{cfg: cfg}
	for _, files := range cfg.Pairs {
		s.pairs = append(s.pairs, followPair(files))
	}
	if cfg.Clients != NoClientCertificate {
		s.ca = followPool(cfg.ClientCA)
	}
	s.Look()
	for _, p := range s.pairs {
		if p.fault != nil {
			return nil, p.fault
		}
	}
	if s.ca != nil && s.ca.fault != nil {
		return nil, s.ca.fault
	}
	s.tls = s.base()
	if s.ca != nil {
		// The configuration that connections begin with keeps the keys of the session tickets; it never
		// serves by itself.
		s.tls.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current.Load(), nil }
		s.tls.ClientAuth, s.tls.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	}
	return s, nil
}

// TLS returns the configuration for the listener's connections. It is always the same and follows the
// files by itself; it is not modified.
func (s *Server) TLS() *tls.Config { return s.tls }

// File returns the file of the certificate that clients get who name no host.
func (s *Server) File() string { return s.cfg.Pairs[0].Cert }

// Look reads the files that changed since the last look.
func (s *Server) Look() {
	of := "listener " + s.cfg.Name
	changed := false
	view := &serverView{}
	for _, p := range s.pairs {
		changed = p.look(of, s.cfg.Log) || changed
		if p.have {
			view.pairs = append(view.pairs, p.value)
		}
		if a, bad := p.alarm(of); bad {
			view.faults = append(view.faults, a)
		}
	}
	if changed {
		s.chosen.Store(newChoice(view.pairs))
	}
	if s.ca != nil {
		if s.ca.look(of, s.cfg.Log) {
			s.current.Store(s.asking(s.ca.value))
		}
		if a, bad := s.ca.alarm(of); bad {
			view.faults = append(view.faults, a)
		}
	}
	s.view.Store(view)
}

// Alarms returns what is wrong with the files, and which certificates are at the end of their time.
func (s *Server) Alarms(now time.Time) []mesh.Alarm {
	v := s.view.Load()
	return append(append([]mesh.Alarm(nil), v.faults...), expiries("listener "+s.cfg.Name, now, v.pairs...)...)
}

// base is a configuration without clients' certificates.
func (s *Server) base() *tls.Config {
	return &tls.Config{
		MinVersion: max(s.cfg.MinVersion, tls.VersionTLS12),
		NextProtos: s.cfg.Protocols,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.chosen.Load().pick(hello), nil
		},
		// Head and body leave in one record: small first records only cost.
		DynamicRecordSizingDisabled: true,
	}
}

// asking is a configuration that asks clients for a certificate. It is made anew with each pool, so that
// a session that an old one admitted is judged by the new one.
func (s *Server) asking(pool *x509.CertPool) *tls.Config {
	c := s.base()
	c.ClientCAs = pool
	c.ClientAuth = tls.RequireAndVerifyClientCert
	if s.cfg.Clients == VerifyIfGiven {
		c.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return c
}
