package exchange

import "time"

// Secure is what the TLS handshake of a client's connection established. It is shared by the exchanges of
// the connection and not modified.
type Secure struct {
	// Version and Suite as in crypto/tls.
	Version, Suite uint16
	// ServerName that the client asked for, in lower case and without a final dot; empty when it named
	// none.
	ServerName string
	// Resumed sessions were taken up from an earlier connection.
	Resumed bool
	// Took is how long the handshake took.
	Took time.Duration
	// Subject of the client's certificate, for logs; empty without one.
	Subject string
	// ClientCert and ClientCertChain are the values of the fields of these names (RFC 9440): the client's
	// certificate, which was verified, and those that came with it. Nil without one.
	ClientCert, ClientCertChain []byte
}
