package upstream

import (
	"strings"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// Target is what is dialled for an endpoint, and how it is spoken to.
type Target struct {
	// Addr is host:port.
	Addr string
	// Secure says that TLS is spoken, and never anything in its place.
	Secure bool
	// TLS says how, where Secure is set.
	TLS TLS
	// Proxy is the version of the PROXY header that begins each connection; 0 for none.
	Proxy int
}

// TLS says how endpoints prove who they are, and what is shown to them. The zero value takes the
// authorities of the system and the host of the address.
type TLS struct {
	// CA is a file of the authorities that may vouch for an endpoint; empty for the system's.
	CA string
	// ServerName is the name that an endpoint must prove; empty for the host of its address.
	ServerName string
	// Cert and Key are the files of the certificate that is shown to an endpoint that asks; empty for none.
	Cert, Key string
}

// secureScheme begins the configured address of an endpoint that is spoken to over TLS.
const secureScheme = "https://"

func speaksTLS(in *mesh.Instance) bool { return strings.EqualFold(in.Metadata["scheme"], "https") }

// target is where an endpoint is reached. Whoever asks for TLS gets it, and nobody can ask to go without
// where the service is configured to have it.
func (b *builder) target(addr string, secure bool) Target {
	t := Target{Addr: addr, Secure: secure || b.u.source.Secure, Proxy: b.u.source.Proxy}
	if t.Secure {
		t.TLS = b.u.source.TLS
	}
	return t
}
