package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"

	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
)

// failSecure tells why TLS with an endpoint did not come about. Nothing was sent, and nothing is sent
// without it.
func failSecure(err error) failure {
	f := failure{status: 502, code: CodeTLSHandshake, cause: err.Error(), unsent: true,
		detail: "TLS could not be agreed on with the endpoint"}
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var plain tls.RecordHeaderError
	var timeout net.Error
	switch {
	case errors.Is(err, http1.ErrTrust):
		f.status, f.code = 503, CodeTLSMaterial
		f.detail = "the files that say how to speak TLS to the service cannot be used"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		f.code, f.detail = CodeTLSExpired, "the endpoint's certificate has expired or is not valid yet"
	case errors.As(err, &name):
		f.code, f.detail = CodeTLSName, "the endpoint's certificate is not for the name that it must prove"
	case errors.As(err, &unknown):
		f.code, f.detail = CodeTLSUnknownCA, "the endpoint's certificate is not from a trusted authority"
	case errors.As(err, &plain):
		f.detail = "the endpoint does not speak TLS"
	case errors.As(err, &timeout) && timeout.Timeout():
		f.status, f.code, f.detail = 504, CodeTLSTimeout, "the endpoint did not finish the TLS handshake in time"
	}
	return f
}

// refusedUs reports whether the endpoint ended a connection with an alert of TLS. From TLS 1.3 on it
// looks at our certificate when we have long begun to send.
func refusedUs(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}
