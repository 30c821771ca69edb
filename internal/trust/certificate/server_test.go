package certificate_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/trust/certificate"
	"github.com/toska-mesh/toska-mesh/internal/trust/certificate/certificatetest"
	"github.com/toska-mesh/toska-mesh/mesh"
)

var quiet = slog.New(slog.DiscardHandler)

// shake makes a handshake over loopback, with a byte each way behind it, and returns what each side saw.
func shake(t *testing.T, server, client *tls.Config) (of tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	b, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	for _, c := range []net.Conn{a, b} {
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() {
		s := tls.Server(a, server)
		_, err := s.Write([]byte("x"))
		if err == nil {
			_, err = s.Read(make([]byte, 1))
		}
		if err != nil {
			_ = a.Close()
		}
		done <- err
	}()
	c := tls.Client(b, client)
	_, clientErr = c.Read(make([]byte, 1))
	if clientErr == nil {
		_, clientErr = c.Write([]byte("y"))
	}
	_ = b.Close()
	return c.ConnectionState(), <-done, clientErr
}

func write(t *testing.T, l *certificatetest.Leaf, dir, name string) certificate.Files {
	t.Helper()
	cert, key := l.Write(t, dir, name)
	return certificate.Files{Cert: cert, Key: key}
}

func open(t *testing.T, cfg certificate.ServerConfig) *certificate.Server {
	t.Helper()
	cfg.Name, cfg.Log, cfg.Protocols = "gateway-tls", quiet, []string{"http/1.1"}
	s, err := certificate.OpenServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheCertificateIsChosenByName(t *testing.T) {
	dir, ca := t.TempDir(), certificatetest.NewAuthority(t, "ca")
	issue := func(name string, rsa bool, names ...string) certificate.Files {
		return write(t, ca.Issue(t, certificatetest.Spec{Subject: name, RSA: rsa, Names: names}), dir, name)
	}
	s := open(t, certificate.ServerConfig{Pairs: []certificate.Files{
		issue("first", false, "first.test"),
		issue("wild", false, "*.shop.test"),
		issue("exact", false, "Api.Shop.Test"),
		issue("ec", false, "two.test"),
		issue("rsa", true, "two.test"),
	}})
	for _, tc := range []struct {
		name, asks string
		suites     []uint16
		want       string
	}{
		{"no name gets the first", "", nil, "first"},
		{"an unknown name gets the first", "unknown.test", nil, "first"},
		{"an exact name", "first.test", nil, "first"},
		{"a name in another case", "FIRST.test", nil, "first"},
		{"a wildcard stands for one label", "www.shop.test", nil, "wild"},
		{"an exact name comes before a wildcard", "api.shop.test", nil, "exact"},
		{"a wildcard does not stand for two labels", "a.b.shop.test", nil, "first"},
		{"a wildcard does not stand for none", "shop.test", nil, "first"},
		{"of two for a name the first", "two.test", nil, "ec"},
		{"of two for a name the one that the client can use", "two.test", []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, "rsa"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client := &tls.Config{ServerName: tc.asks, InsecureSkipVerify: true, CipherSuites: tc.suites}
			if tc.suites != nil {
				client.MaxVersion = tls.VersionTLS12
			}
			state, _, err := shake(t, s.TLS(), client)
			if err != nil || state.PeerCertificates[0].Subject.CommonName != tc.want {
				t.Errorf("got %v, %v; want %s", state.PeerCertificates, err, tc.want)
			}
		})
	}
}

func TestOldVersionsAreRefused(t *testing.T) {
	ca := certificatetest.NewAuthority(t, "ca")
	files := write(t, ca.Issue(t, certificatetest.Spec{Names: []string{"a.test"}}), t.TempDir(), "a")
	for _, tc := range []struct {
		name      string
		min, asks uint16
		served    bool
	}{
		{"TLS 1.0", 0, tls.VersionTLS10, false},
		{"TLS 1.1", 0, tls.VersionTLS11, false},
		{"TLS 1.1 where somebody asks for it", tls.VersionTLS10, tls.VersionTLS11, false},
		{"TLS 1.2", 0, tls.VersionTLS12, true},
		{"TLS 1.3", 0, tls.VersionTLS13, true},
		{"TLS 1.2 where 1.3 is the least", tls.VersionTLS13, tls.VersionTLS12, false},
		{"TLS 1.3 where 1.3 is the least", tls.VersionTLS13, tls.VersionTLS13, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := open(t, certificate.ServerConfig{Pairs: []certificate.Files{files}, MinVersion: tc.min})
			_, _, err := shake(t, s.TLS(), &tls.Config{ServerName: "a.test", RootCAs: ca.Pool(), MinVersion: tc.asks, MaxVersion: tc.asks})
			if (err == nil) != tc.served {
				t.Errorf("got %v, want served: %v", err, tc.served)
			}
		})
	}
}

func TestSessionsAreTakenUpAgain(t *testing.T) {
	ca := certificatetest.NewAuthority(t, "ca")
	dir := t.TempDir()
	leaf := ca.Issue(t, certificatetest.Spec{Names: []string{"a.test"}})
	files := write(t, leaf, dir, "a")
	client := ca.Issue(t, certificatetest.Spec{Subject: "c"})
	caFile := certificatetest.WriteFile(t, dir, "ca.pem", ca.PEM)
	for _, mode := range []certificate.ClientMode{certificate.NoClientCertificate, certificate.VerifyIfGiven, certificate.RequireClientCertificate} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			s := open(t, certificate.ServerConfig{Pairs: []certificate.Files{files}, Clients: mode, ClientCA: caFile})
			cfg := &tls.Config{ServerName: "a.test", RootCAs: ca.Pool(), ClientSessionCache: tls.NewLRUClientSessionCache(1),
				MaxVersion: version, Certificates: []tls.Certificate{client.TLS}}
			first, _, err := shake(t, s.TLS(), cfg)
			if err != nil || first.DidResume {
				t.Fatalf("mode %d: first handshake: %v, %v", mode, first.DidResume, err)
			}
			if second, _, err := shake(t, s.TLS(), cfg); err != nil || !second.DidResume {
				t.Errorf("mode %d, version %x: the session was not taken up: %v", mode, version, err)
			}
			leaf.Write(t, dir, "a") // read anew: sessions outlive it
			s.Look()
			if third, _, err := shake(t, s.TLS(), cfg); err != nil || !third.DidResume {
				t.Errorf("mode %d, version %x: the session was not taken up after a reload: %v", mode, version, err)
			}
		}
	}
}

func TestClientsAreJudgedByTheirCertificate(t *testing.T) {
	ca, foreign := certificatetest.NewAuthority(t, "ca"), certificatetest.NewAuthority(t, "foreign")
	dir := t.TempDir()
	files := write(t, ca.Issue(t, certificatetest.Spec{Names: []string{"a.test"}}), dir, "a")
	caFile := certificatetest.WriteFile(t, dir, "ca.pem", ca.PEM)
	past := time.Now().Add(-time.Minute)
	certs := map[string][]tls.Certificate{
		"none":      nil,
		"a trusted": {ca.Issue(t, certificatetest.Spec{Subject: "c"}).TLS},
		"a foreign": {foreign.Issue(t, certificatetest.Spec{Subject: "c"}).TLS},
		"an old":    {ca.Issue(t, certificatetest.Spec{Subject: "c", NotAfter: past}).TLS},
	}
	for _, tc := range []struct {
		mode   certificate.ClientMode
		cert   string
		served bool
	}{
		{certificate.RequireClientCertificate, "none", false},
		{certificate.RequireClientCertificate, "a trusted", true},
		{certificate.RequireClientCertificate, "a foreign", false},
		{certificate.RequireClientCertificate, "an old", false},
		{certificate.VerifyIfGiven, "none", true},
		{certificate.VerifyIfGiven, "a trusted", true},
		{certificate.VerifyIfGiven, "a foreign", false},
		{certificate.VerifyIfGiven, "an old", false},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			s := open(t, certificate.ServerConfig{Pairs: []certificate.Files{files}, Clients: tc.mode, ClientCA: caFile})
			cfg := &tls.Config{ServerName: "a.test", RootCAs: ca.Pool(), MaxVersion: version}
			// Shown whatever authorities the server names.
			if certs[tc.cert] != nil {
				cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certs[tc.cert][0], nil }
			}
			_, err, _ := shake(t, s.TLS(), cfg)
			if (err == nil) != tc.served {
				t.Errorf("mode %d, %s certificate, version %x: %v, want served: %v", tc.mode, tc.cert, version, err, tc.served)
			}
		}
	}
}

func TestAListenerDoesNotBeginWithLessThanItWasToldTo(t *testing.T) {
	ca := certificatetest.NewAuthority(t, "ca")
	dir := t.TempDir()
	good := write(t, ca.Issue(t, certificatetest.Spec{Names: []string{"a.test"}}), dir, "a")
	bad := certificate.Files{Cert: filepath.Join(dir, "none.crt"), Key: filepath.Join(dir, "none.key")}
	if _, err := certificate.OpenServer(certificate.ServerConfig{Pairs: []certificate.Files{good, bad}, Log: quiet}); mesh.CodeOf(err) != certificate.CodePair {
		t.Errorf("a bad pair beside a good one: %v", err)
	}
	for _, tc := range trust(t) {
		for _, mode := range []certificate.ClientMode{certificate.VerifyIfGiven, certificate.RequireClientCertificate} {
			path := filepath.Join(t.TempDir(), "ca.pem")
			if tc.data != nil {
				certificatetest.WriteFile(t, filepath.Dir(path), "ca.pem", tc.data)
			}
			_, err := certificate.OpenServer(certificate.ServerConfig{Pairs: []certificate.Files{good}, Clients: mode, ClientCA: path, Log: quiet})
			if mesh.CodeOf(err) != certificate.CodeTrust || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("N-13 %s, mode %d: %v, want %s", tc.name, mode, err, tc.want)
			}
		}
	}
}

func TestANewPairIsPutInForceAndABadOneIsNot(t *testing.T) {
	ca := certificatetest.NewAuthority(t, "ca")
	dir := t.TempDir()
	files := write(t, ca.Issue(t, certificatetest.Spec{Subject: "one"}), dir, "a")
	s := open(t, certificate.ServerConfig{Pairs: []certificate.Files{files}})
	serves := func(want, alarm string) {
		t.Helper()
		s.Look()
		state, _, err := shake(t, s.TLS(), &tls.Config{InsecureSkipVerify: true})
		if err != nil || state.PeerCertificates[0].Subject.CommonName != want {
			t.Errorf("it serves %v, %v; want %s", state.PeerCertificates, err, want)
		}
		alarms := s.Alarms(time.Now())
		if alarm == "" && len(alarms) > 0 || alarm != "" && (len(alarms) != 1 || !strings.Contains(alarms[0].Detail, alarm) ||
			!strings.Contains(alarms[0].Detail, "stays in force") || alarms[0].Code != certificate.CodePair) {
			t.Errorf("alarms %+v, want %q", alarms, alarm)
		}
	}
	serves("one", "")
	two := ca.Issue(t, certificatetest.Spec{Subject: "two"})
	two.Write(t, dir, "a")
	serves("two", "")
	certificatetest.WriteFile(t, dir, "a.crt", ca.Issue(t, certificatetest.Spec{Subject: "three"}).Cert) // and not its key
	serves("two", "is not that of the certificate")
	serves("two", "is not that of the certificate") // looked at again, it is still bad
	two.Write(t, dir, "a")
	serves("two", "")
	if err := os.Remove(filepath.Join(dir, "a.key")); err != nil {
		t.Fatal(err)
	}
	serves("two", "there is no such file")
	ca.Issue(t, certificatetest.Spec{Subject: "old", NotAfter: time.Now().Add(-time.Minute)}).Write(t, dir, "a")
	serves("two", "the new certificate is not valid now")
	ca.Issue(t, certificatetest.Spec{Subject: "four"}).Write(t, dir, "a")
	serves("four", "")
}

func TestAnExpiredCertificateIsServedAtTheStartWithAnAlarm(t *testing.T) {
	ca := certificatetest.NewAuthority(t, "ca")
	files := write(t, ca.Issue(t, certificatetest.Spec{Subject: "old", NotAfter: time.Now().Add(-time.Minute)}), t.TempDir(), "a")
	s := open(t, certificate.ServerConfig{Pairs: []certificate.Files{files}})
	alarms := s.Alarms(time.Now())
	if len(alarms) != 1 || alarms[0].Code != certificate.CodeExpiry || !strings.HasPrefix(alarms[0].Detail, "listener gateway-tls: ") {
		t.Errorf("N-12: alarms %+v", alarms)
	}
}

func TestTheAuthoritiesOfClientsAreFollowedAndFailClosed(t *testing.T) {
	ca, next := certificatetest.NewAuthority(t, "ca"), certificatetest.NewAuthority(t, "next")
	dir := t.TempDir()
	files := write(t, ca.Issue(t, certificatetest.Spec{Names: []string{"a.test"}}), dir, "a")
	path := certificatetest.WriteFile(t, dir, "ca.pem", ca.PEM)
	s := open(t, certificate.ServerConfig{Pairs: []certificate.Files{files}, Clients: certificate.RequireClientCertificate, ClientCA: path})
	of := func(a *certificatetest.Authority) *tls.Config {
		cert := a.Issue(t, certificatetest.Spec{Subject: "c"}).TLS
		return &tls.Config{ServerName: "a.test", RootCAs: ca.Pool(), ClientSessionCache: tls.NewLRUClientSessionCache(1),
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }}
	}
	old, fresh := of(ca), of(next)
	takes := func(when string, cfg *tls.Config, want bool) {
		t.Helper()
		s.Look()
		if _, err, _ := shake(t, s.TLS(), cfg); (err == nil) != want {
			t.Errorf("N-13 %s: %v, want served: %v", when, err, want)
		}
	}
	takes("at first, one of the authority", old, true)
	takes("at first, one of another", fresh, false)
	for _, tc := range trust(t) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if tc.data != nil {
			certificatetest.WriteFile(t, dir, "ca.pem", tc.data)
		}
		takes(tc.name+", one of the authority", old, true)
		takes(tc.name+", one of another", fresh, false)
		takes(tc.name+", none", &tls.Config{ServerName: "a.test", RootCAs: ca.Pool()}, false)
		alarms := s.Alarms(time.Now())
		if len(alarms) != 1 || alarms[0].Code != certificate.CodeTrust || !strings.Contains(alarms[0].Detail, tc.want) {
			t.Errorf("N-13 %s: alarms %+v", tc.name, alarms)
		}
	}
	certificatetest.WriteFile(t, dir, "ca.pem", next.PEM)
	takes("after a change, one of the new authority", fresh, true)
	takes("after a change, a session that the old one admitted", old, false)
	if alarms := s.Alarms(time.Now()); len(alarms) != 0 {
		t.Errorf("alarms %+v", alarms)
	}
}

func TestAClientVerifiesByWhatItWasGiven(t *testing.T) {
	ca := certificatetest.NewAuthority(t, "ca")
	dir := t.TempDir()
	leaf := ca.Issue(t, certificatetest.Spec{Names: []string{"a.test"}})
	server := &tls.Config{Certificates: []tls.Certificate{leaf.TLS}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()}
	path := filepath.Join(dir, "ca.pem")
	c := certificate.OpenClient(certificate.ClientConfig{
		Name: "service orders", CA: path, ServerName: "a.test", Log: quiet,
		Pair: write(t, ca.Issue(t, certificatetest.Spec{Subject: "gateway"}), dir, "c"),
	})
	if cfg, err := c.TLS(); cfg != nil || mesh.CodeOf(err) != certificate.CodeTrust {
		t.Errorf("N-13: without the file there is %v, %v", cfg, err)
	}
	if a := c.Alarms(time.Now()); len(a) != 1 || a[0].Code != certificate.CodeTrust || !strings.HasPrefix(a[0].Detail, "service orders: "+path) {
		t.Errorf("alarms %+v", a)
	}
	certificatetest.WriteFile(t, dir, "ca.pem", ca.PEM)
	c.Look()
	first, err := c.TLS()
	if err != nil || len(c.Alarms(time.Now())) != 0 {
		t.Fatalf("with the file there is %v, %v", err, c.Alarms(time.Now()))
	}
	if _, serverErr, err := shake(t, server, first); err != nil || serverErr != nil {
		t.Errorf("handshake: %v, %v", serverErr, err)
	}
	c.Look()
	if same, _ := c.TLS(); same != first {
		t.Error("the configuration was made anew though nothing changed")
	}
	certificatetest.WriteFile(t, dir, "ca.pem", certificatetest.NewAuthority(t, "other").PEM)
	c.Look()
	other, err := c.TLS()
	if err != nil {
		t.Fatal(err)
	}
	var unknown x509.UnknownAuthorityError
	if _, _, err := shake(t, server, other); !errors.As(err, &unknown) {
		t.Errorf("after the authority changed: %v", err)
	}
	certificatetest.WriteFile(t, dir, "ca.pem", nil)
	c.Look()
	if kept, err := c.TLS(); kept != other || err != nil || len(c.Alarms(time.Now())) != 1 {
		t.Errorf("N-13: an empty file changed what is in force: %v, %v", err, c.Alarms(time.Now()))
	}
}
