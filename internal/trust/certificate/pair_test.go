package certificate_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/trust/certificate"
	"github.com/toska-mesh/toska-mesh/internal/trust/certificate/certificatetest"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestWhatIsWrongWithAPairIsTold(t *testing.T) {
	ca := certificatetest.NewAuthority(t, "ca")
	good, other := ca.Issue(t, certificatetest.Spec{Names: []string{"a.test"}}), ca.Issue(t, certificatetest.Spec{})
	block, _ := pem.Decode(good.Key)
	old, err := x509.EncryptPEMBlock(strings.NewReader(strings.Repeat("r", 64)), "EC PRIVATE KEY", block.Bytes, []byte("secret"), x509.PEMCipherAES256) //nolint:staticcheck // what old keys look like
	if err != nil {
		t.Fatal(err)
	}
	damaged := []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	for _, tc := range []struct {
		name      string
		cert, key []byte // nil: no file
		names     string // the file that is named
		want      string
	}{
		{"there is no certificate file", nil, good.Key, "a.crt", "there is no such file; put it there"},
		{"there is no key file", good.Cert, nil, "a.key", "there is no such file"},
		{"the certificate file is empty", []byte{}, good.Key, "a.crt", "the file is empty"},
		{"the certificate file holds text", []byte("hello"), good.Key, "a.crt", "holds no certificate in PEM form"},
		{"the certificate file holds the key", good.Key, good.Key, "a.crt", "holds no certificate in PEM form"},
		{"the key file holds the certificate", good.Cert, good.Cert, "a.key", "holds no private key in PEM form"},
		{"the certificate is damaged", damaged, good.Key, "a.crt", "the pair cannot be read"},
		{"the key is another's", good.Cert, other.Key, "a.key", "is not that of the certificate in "},
		{"the key is encrypted", good.Cert, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), "a.key", "the private key is encrypted"},
		{"the key is encrypted in the old form", good.Cert, pem.EncodeToMemory(old), "a.key", "the private key is encrypted"},
		{"an RSA key is with an ECDSA certificate", good.Cert, ca.Issue(t, certificatetest.Spec{RSA: true}).Key, "a.key", "is not that of the certificate in "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			f := certificate.Files{Cert: filepath.Join(dir, "a.crt"), Key: filepath.Join(dir, "a.key")}
			if tc.cert != nil {
				certificatetest.WriteFile(t, dir, "a.crt", tc.cert)
			}
			if tc.key != nil {
				certificatetest.WriteFile(t, dir, "a.key", tc.key)
			}
			_, err := certificate.LoadPair(f)
			if err == nil || !strings.HasPrefix(err.Error(), filepath.Join(dir, tc.names)+": ") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s: … %s", err, tc.names, tc.want)
			}
			if mesh.CodeOf(err) != certificate.CodePair || !errors.Is(err, mesh.ErrInvalid) {
				t.Errorf("the code is %s", mesh.CodeOf(err))
			}
		})
	}
}

func TestAPairMayBeInOneFileWithItsChain(t *testing.T) {
	ca := certificatetest.NewAuthority(t, "ca")
	leaf := ca.Issue(t, certificatetest.Spec{Names: []string{"A.test", "*.b.test", "10.0.0.1"}})
	path := certificatetest.WriteFile(t, t.TempDir(), "all.pem", append(append(append([]byte{}, leaf.Cert...), ca.PEM...), leaf.Key...))
	p, err := certificate.LoadPair(certificate.Files{Cert: path, Key: path})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.Names(), " "); got != "a.test *.b.test" {
		t.Errorf("it is for %s", got)
	}
}

func TestACertificateTellsOfItsTime(t *testing.T) {
	ca := certificatetest.NewAuthority(t, "ca")
	from := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	until := from.AddDate(0, 0, 90)
	leaf := ca.Issue(t, certificatetest.Spec{NotBefore: from, NotAfter: until})
	var f certificate.Files
	f.Cert, f.Key = leaf.Write(t, t.TempDir(), "a")
	p, err := certificate.LoadPair(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		at   time.Time
		want string // empty: no alarm
	}{
		{"before its time", from.Add(-time.Minute), "is not valid before 2030-01-01T00:00:00Z"},
		{"at its beginning", from, ""},
		{"more than two weeks before its end", until.AddDate(0, 0, -14).Add(-time.Minute), ""},
		{"two weeks before its end", until.AddDate(0, 0, -14), "in 14 days"},
		{"an hour before its end", until.Add(-time.Hour), "in less than a day"},
		{"at its end", until, "has expired at 2030-04-01T00:00:00Z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, ok := p.Expiry(tc.at)
			if ok != (tc.want != "") || !strings.Contains(a.Detail, tc.want) {
				t.Errorf("N-12: got %v, %q, want %q", ok, a.Detail, tc.want)
			}
			if ok && (a.Code != certificate.CodeExpiry || !strings.HasPrefix(a.Detail, f.Cert+": ")) {
				t.Errorf("the alarm is %+v", a)
			}
		})
	}
}

// trust are the ways in which a file of authorities is no good (N-13).
func trust(t *testing.T) []struct {
	name, want string
	data       []byte // nil: no file
} {
	t.Helper()
	ca := certificatetest.NewAuthority(t, "ca")
	leaf := ca.Issue(t, certificatetest.Spec{})
	block, _ := pem.Decode(ca.PEM)
	block.Bytes = block.Bytes[:len(block.Bytes)/2]
	return []struct {
		name, want string
		data       []byte
	}{
		{"missing", "there is no such file", nil},
		{"empty", "the file is empty", []byte{}},
		{"text", "holds no certificate", []byte("no certificate\n")},
		{"a key", "holds no certificate", leaf.Key},
		{"corrupt", "certificate number 1 is damaged", pem.EncodeToMemory(block)},
		{"corrupt behind a good one", "certificate number 2 is damaged", append(append([]byte{}, ca.PEM...), pem.EncodeToMemory(block)...)},
	}
}

func TestAPoolFailsClosed(t *testing.T) {
	for _, tc := range trust(t) {
		t.Run("N-13 "+tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ca.pem")
			if tc.data != nil {
				certificatetest.WriteFile(t, filepath.Dir(path), "ca.pem", tc.data)
			}
			pool, err := certificate.LoadPool(path)
			if pool != nil || err == nil || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), tc.want) || mesh.CodeOf(err) != certificate.CodeTrust {
				t.Errorf("got %v, %v; want %s", pool, err, tc.want)
			}
		})
	}
	t.Run("N-13 unreadable", func(t *testing.T) {
		pool, err := certificate.LoadPool(t.TempDir()) // a directory: what a test that may read everything cannot read
		if pool != nil || err == nil || !strings.Contains(err.Error(), "no regular file") {
			t.Errorf("got %v, %v", pool, err)
		}
	})
	t.Run("N-13 without the right to read it", func(t *testing.T) {
		ca := certificatetest.NewAuthority(t, "ca")
		path := certificatetest.WriteFile(t, t.TempDir(), "ca.pem", ca.PEM)
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := os.ReadFile(path); err == nil {
			t.Skip("this user may read everything")
		}
		pool, err := certificate.LoadPool(path)
		if pool != nil || err == nil || !strings.Contains(err.Error(), "may not read") {
			t.Errorf("got %v, %v", pool, err)
		}
	})
}
