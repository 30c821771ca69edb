package proxy

import (
	"bytes"
	"context"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// Redirect answers each request of a plain listener by where it is over TLS.
type Redirect struct {
	// Port is that of the listener which speaks TLS; "443" is not written out.
	Port string
	// Next serves what is not redirected: health, and what a trusted proxy says came over TLS.
	Next exchange.Handler
}

// ServeExchange implements exchange.Handler.
func (h *Redirect) ServeExchange(ctx context.Context, x *exchange.Exchange) {
	r := &x.Request
	if r.Scheme == "https" || isHealth(r) {
		h.Next.ServeExchange(ctx, x)
		return
	}
	host := r.ForwardedHost
	if len(host) == 0 {
		host = r.Host
	}
	if len(host) == 0 {
		exchange.Problem(x, 400, exchange.CodeBadHost, "this port only tells where the request is over TLS, and the request names no host")
		return
	}
	location := h.location(host, r)
	head := exchange.Head{Status: 308, Fields: exchange.Fields{{Name: []byte("Location"), Value: location}}}
	if x.Answer.Start(&head) != nil || x.Answer.End(nil) != nil {
		x.Record.ClientGone = true
	}
	x.Record.Status = 308
}

// location is the request's own address over TLS. What of it is the client's has passed the parser, and so
// holds neither spaces nor line ends.
func (h *Redirect) location(host []byte, r *exchange.Request) []byte {
	b := append([]byte("https://"), withoutPort(host)...)
	if h.Port != "443" {
		b = append(b, ':')
		b = append(b, h.Port...)
	}
	b = append(b, r.Path...)
	if r.HasQuery {
		b = append(b, '?')
		b = append(b, r.Query...)
	}
	return b
}

func withoutPort(host []byte) []byte {
	end := 0
	if host[0] == '[' {
		end = bytes.IndexByte(host, ']')
	}
	if i := bytes.IndexByte(host[max(end, 0):], ':'); i >= 0 {
		return host[:max(end, 0)+i]
	}
	return host
}

// isHealth reports whether a request asks for the gateway's health, which balancers ask for without TLS.
func isHealth(r *exchange.Request) bool {
	switch string(r.Path) {
	case "/health", "/health/live", "/health/ready", "/livez", "/readyz":
		return string(r.Method) == "GET" || string(r.Method) == "HEAD"
	}
	return false
}
