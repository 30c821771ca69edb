package httpapi

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// dialTimeout bounds how long a node may take to accept a connection.
const dialTimeout = 2 * time.Second

// NewClient returns a client for a node's control port: HTTP/2 in the clear, with the token unless it
// is empty. It notices within 15 s that a node is gone whose connection says nothing, uses no proxy and
// follows no redirect, so that the token goes to the node alone. The owner calls CloseIdleConnections
// at the end.
func NewClient(token string) *http.Client {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return newClient(token, protocols, nil)
}

func newClient(token string, protocols http.Protocols, secure *tls.Config) *http.Client {
	return &http.Client{
		Transport: &bearer{token: token, next: &http.Transport{
			DialContext:        (&net.Dialer{Timeout: dialTimeout}).DialContext,
			Protocols:          &protocols,
			TLSClientConfig:    secure,
			DisableCompression: true,
			IdleConnTimeout:    idleTimeout,
			HTTP2: &http.HTTP2Config{
				SendPingTimeout:  10 * time.Second,
				PingTimeout:      5 * time.Second,
				WriteByteTimeout: 15 * time.Second,
			},
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bearer adds the token to each request.
type bearer struct {
	token string
	next  *http.Transport
}

// RoundTrip sends a copy of the request, as the contract of http.RoundTripper wants.
func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token == "" {
		return b.next.RoundTrip(r)
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

// CloseIdleConnections is what http.Client looks for.
func (b *bearer) CloseIdleConnections() { b.next.CloseIdleConnections() }
