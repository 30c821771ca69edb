package certificate

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// LoadPool reads trusted authorities from a PEM file. A file that is missing, empty, damaged, or without
// a certificate is an error, and never an empty pool or the system's.
func LoadPool(file string) (*x509.CertPool, error) {
	data, err := read(CodeTrust, file)
	if err != nil {
		return nil, err
	}
	pool, n := x509.NewCertPool(), 0
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			break
		}
		if !isCertificate(b) {
			continue
		}
		n++
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fault(CodeTrust, file, fmt.Sprintf("its certificate number %d is damaged: %v", n, err),
				"copy the file again, or take that certificate out", err)
		}
		pool.AddCert(cert)
	}
	if n == 0 {
		return nil, fault(CodeTrust, file, "the file holds no certificate in PEM form", "put the certificates of the authorities there", nil)
	}
	return pool, nil
}
