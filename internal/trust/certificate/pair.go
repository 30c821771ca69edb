// Package certificate reads the material of TLS from files: certificates with their keys, and the
// authorities that are trusted. It says plainly what is wrong with a file, follows files that change
// while they are in use, and lets nothing that cannot be read open a door: where there is nobody to
// trust, nobody is trusted.
//
// # Concurrency
//
// A Pair is immutable. The TLS configurations of a Server and of a Client may be used by any number of
// connections while Look puts new material in force; Look itself is called by one goroutine at a time.
// Nothing here starts a goroutine.
package certificate

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// Files name a certificate and its private key.
type Files struct {
	// Cert is a PEM file with the certificate first, and behind it those that lead to its authority.
	Cert string
	// Key is a PEM file with the private key, not encrypted. It may be the same file.
	Key string
}

// Pair is a certificate with its key.
type Pair struct {
	files Files
	cert  *tls.Certificate
}

// LoadPair reads a pair. The error names the file and what to do. That a certificate has expired, or is
// not valid yet, is no error: Expiry tells.
func LoadPair(f Files) (*Pair, error) {
	certs, err := read(CodePair, f.Cert)
	if err != nil {
		return nil, err
	}
	if !hasBlock(certs, isCertificate) {
		return nil, fault(CodePair, f.Cert, "the file holds no certificate in PEM form", "put the certificate and its chain there", nil)
	}
	key, err := read(CodePair, f.Key)
	if err != nil {
		return nil, err
	}
	switch {
	case hasBlock(key, isEncrypted):
		return nil, fault(CodePair, f.Key, "the private key is encrypted, and there is nobody to ask for its passphrase",
			"write it without one, as with: openssl pkey -in FILE -out FILE", nil)
	case !hasBlock(key, isKey):
		return nil, fault(CodePair, f.Key, "the file holds no private key in PEM form", "put the key of the certificate there", nil)
	}
	cert, err := tls.X509KeyPair(certs, key)
	switch {
	case err == nil:
		return &Pair{files: f, cert: &cert}, nil
	case strings.Contains(err.Error(), "does not match"):
		return nil, fault(CodePair, f.Key, "the private key is not that of the certificate in "+f.Cert,
			"put the two that belong together there; the certificate stands first in its file, before its chain", err)
	}
	return nil, fault(CodePair, f.Cert, "the pair cannot be read: "+err.Error(), "have it issued anew, or copy it again", err)
}

func hasBlock(data []byte, is func(*pem.Block) bool) bool {
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return false
		}
		if is(b) {
			return true
		}
	}
}

func isCertificate(b *pem.Block) bool { return b.Type == "CERTIFICATE" }
func isKey(b *pem.Block) bool         { return strings.HasSuffix(b.Type, "PRIVATE KEY") }

// isEncrypted knows both the PKCS #8 form and that of old OpenSSL keys.
func isEncrypted(b *pem.Block) bool {
	return b.Type == "ENCRYPTED PRIVATE KEY" || isKey(b) && strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED")
}

// Names returns the host names that the certificate is for, in lower case; a wildcard begins with "*.".
func (p *Pair) Names() []string {
	names := make([]string, len(p.cert.Leaf.DNSNames))
	for i, n := range p.cert.Leaf.DNSNames {
		names[i] = normal(n)
	}
	return names
}

// NotAfter returns until when the certificate is valid.
func (p *Pair) NotAfter() time.Time { return p.cert.Leaf.NotAfter }

// timely reports whether the certificate is valid at now.
func (p *Pair) timely(now time.Time) bool {
	return !now.Before(p.cert.Leaf.NotBefore) && !now.After(p.cert.Leaf.NotAfter)
}

// expiryNotice is how long before its end a certificate is told of.
const expiryNotice = 14 * 24 * time.Hour

// Expiry returns what is to be said of the certificate's time at now: an alarm from two weeks before its
// end on, and before its beginning.
func (p *Pair) Expiry(now time.Time) (mesh.Alarm, bool) {
	leaf := p.cert.Leaf
	left := leaf.NotAfter.Sub(now)
	var what string
	switch {
	case now.Before(leaf.NotBefore):
		what = "is not valid before " + stampText(leaf.NotBefore) + ", and clients refuse it; look at the clock of this machine, or have one issued that is valid now"
	case left <= 0:
		what = "has expired at " + stampText(leaf.NotAfter) + ", and clients refuse it; put a new one into the file, which is read at once"
	case left <= expiryNotice:
		what = fmt.Sprintf("expires at %s, in %s; put a new one into the file, which is read at once",
			stampText(leaf.NotAfter), inWords(left))
	default:
		return mesh.Alarm{}, false
	}
	return mesh.Alarm{Code: CodeExpiry, Detail: p.files.Cert + ": the certificate " + what}, true
}

func stampText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func inWords(d time.Duration) string {
	if days := int(math.Ceil(d.Hours() / 24)); days > 1 {
		return fmt.Sprintf("%d days", days)
	}
	return "less than a day"
}

// normal brings a host name into the form in which names are compared.
func normal(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
