package httpapi

import (
	"net/http"
	"strings"

	"github.com/toska-mesh/toska-mesh/internal/trust/certificate"
)

// Reach returns a client for the control port of a node, as NewClient does, and the URL that its paths
// follow. control is HOST:PORT, or https://HOST:PORT for a node that speaks TLS: then the authorities of the
// system vouch for it, or, with #FILE behind, it must show the very certificate that is in the file.
func Reach(control, token string) (hc *http.Client, base string) {
	base, pin, _ := strings.Cut(control, "#")
	if !strings.HasPrefix(base, secureScheme) {
		return NewClient(token), "http://" + base
	}
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	return newClient(token, protocols, certificate.Pin(pin)), base
}

// secureScheme begins the address of a control port that speaks TLS.
const secureScheme = "https://"

// HostPort returns the host and port of a control address, whatever is around them.
func HostPort(control string) string {
	base, _, _ := strings.Cut(control, "#")
	return strings.TrimPrefix(base, secureScheme)
}
