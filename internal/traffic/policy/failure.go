package policy

import (
	"errors"
	"net"
	"syscall"
)

// Codes of what an attempt at an endpoint can come to.
const (
	CodeNoEndpoint  = "TOSKA-UP-NONE"
	CodeRefused     = "TOSKA-UP-CONN-REFUSED"
	CodeConnTimeout = "TOSKA-UP-CONN-TIMEOUT"
	CodeConnFailed  = "TOSKA-UP-CONN-FAILED"
	CodeDNS         = "TOSKA-UP-DNS"
	CodeTimeout     = "TOSKA-UP-TIMEOUT"
	CodeReset       = "TOSKA-UP-RESET"
	CodeMalformed   = "TOSKA-UP-MALFORMED"
	CodeUnwell      = "TOSKA-UP-UNWELL"
)

// Undialled names the failure of a connection that was not made: its code, and in words what the endpoint
// did.
func Undialled(err error) (code, detail string) {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return CodeDNS, "the endpoint's name could not be resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		return CodeRefused, "the endpoint refused the connection"
	case errors.As(err, &timeout) && timeout.Timeout():
		return CodeConnTimeout, "the endpoint did not accept the connection in time"
	}
	return CodeConnFailed, "the endpoint could not be connected to"
}
