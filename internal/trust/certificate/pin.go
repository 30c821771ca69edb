package certificate

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
)

// errOther is a server that shows another certificate than it should.
var errOther = errors.New("the server shows another certificate than the one that is known of it")

// Pin returns a configuration for connections to a server that must show the certificate that stands first
// in the file, whatever its names, its time and its authority are: the file is looked at for each
// connection, so that a renewed certificate is known at once. An empty file name leaves it to the
// authorities of the system.
func Pin(file string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return c
	}
	c.InsecureSkipVerify = true // what is verified instead is below, and of a resumed session too
	c.VerifyConnection = func(s tls.ConnectionState) error {
		data, err := read(CodePair, file)
		if err != nil {
			return err
		}
		for {
			var b *pem.Block
			if b, data = pem.Decode(data); b == nil {
				return errOther
			}
			if !isCertificate(b) {
				continue
			}
			if len(s.PeerCertificates) == 0 || !bytes.Equal(b.Bytes, s.PeerCertificates[0].Raw) {
				return errOther
			}
			return nil
		}
	}
	return c
}
