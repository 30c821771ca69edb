package http1

import (
	"strconv"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// Forward says how a request goes on to an endpoint.
type Forward struct {
	// Front and Path together are the canonical path; the query is the request's own.
	Front string
	Path  []byte
	// Host is what the endpoint is told; empty passes the client's own on.
	Host string
	// Prefix is the part of the path that was taken away, for X-Forwarded-Prefix; may be empty.
	Prefix []byte
}

// AppendRequest appends the head of the request as it goes on: every field that is said end to end in
// its order, framing of our own, and what we say of the client. What the client said of itself in our
// words is left out (RFC 9110 section 7.6).
func AppendRequest(b []byte, r *exchange.Request, f *Forward) []byte {
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, f.Front...)
	b = append(b, f.Path...)
	if r.HasQuery {
		b = append(b, '?')
		b = append(b, r.Query...)
	}
	b = append(b, " HTTP/1.1\r\nHost: "...)
	if f.Host == "" {
		b = append(b, r.Host...)
	} else {
		b = append(b, f.Host...)
	}
	b = append(b, '\r', '\n')
	for i := range r.Fields {
		field := &r.Fields[i]
		switch field.Kind {
		case exchange.Plain, exchange.Trailer, exchange.Date:
		case exchange.TraceState:
			if !r.Traced {
				continue // it belongs to a context that could not be read
			}
		default:
			continue
		}
		if len(r.Nominated) > 0 && nominated(r.Nominated, field.Name) {
			continue
		}
		b = appendField(b, field.Name, field.Value)
	}
	b = appendOurs(b, r, f)
	switch {
	case r.WebSocket:
		b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	case r.Trailers:
		b = append(b, "Connection: TE\r\nTE: trailers\r\n"...)
	}
	switch {
	case r.Length == exchange.Unknown:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case r.Length > 0 || wantsLength(r):
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, r.Length, 10)
		b = append(b, '\r', '\n')
	}
	return append(b, '\r', '\n')
}

// wantsLength keeps an empty body an empty body: a method that usually has one says so (RFC 9110
// section 8.6).
func wantsLength(r *exchange.Request) bool {
	switch string(r.Method) {
	case "POST", "PUT", "PATCH":
		return true
	}
	return false
}

// appendOurs appends what the gateway says of the client, and the ids that tie the hops together.
func appendOurs(b []byte, r *exchange.Request, f *Forward) []byte {
	if r.Client.IsValid() {
		b = append(b, "X-Forwarded-For: "...)
		for _, via := range r.Via {
			b = append(b, via...)
			b = append(b, ", "...)
		}
		b = r.Client.Addr().AppendTo(b)
		b = append(b, '\r', '\n')
	}
	host := r.ForwardedHost
	if len(host) == 0 {
		host = r.Host
	}
	if len(host) > 0 {
		b = appendField(b, []byte("X-Forwarded-Host"), host)
	}
	b = append(b, "X-Forwarded-Proto: "...)
	b = append(b, r.Scheme...)
	b = append(b, '\r', '\n')
	if len(f.Prefix) > 0 {
		b = appendField(b, []byte("X-Forwarded-Prefix"), f.Prefix)
	}
	if s := r.Secure; s != nil && s.ClientCert != nil {
		b = appendField(b, clientCertName, s.ClientCert)
		if len(s.ClientCertChain) > 0 {
			b = appendField(b, clientCertChainName, s.ClientCertChain)
		}
	}
	b = appendField(b, requestIDName, r.ID)
	b = append(b, "Toska-Hops: "...)
	b = strconv.AppendInt(b, int64(r.Hops)+1, 10)
	b = append(b, "\r\nTraceparent: "...)
	b = r.Trace.AppendParent(b)
	return append(b, '\r', '\n')
}

// The fields that tell of the client's certificate (RFC 9440).
var (
	clientCertName      = []byte("Client-Cert")
	clientCertChainName = []byte("Client-Cert-Chain")
)

// AppendChunk appends the size line of a chunk of n bytes.
func AppendChunk(b []byte, n int) []byte {
	b = strconv.AppendInt(b, int64(n), 16)
	return append(b, '\r', '\n')
}

// AppendLastChunk appends the end of a chunked body with its trailers.
func AppendLastChunk(b []byte, trailers exchange.Fields) []byte {
	b = append(b, "0\r\n"...)
	for i := range trailers {
		if trailers[i].Kind == exchange.Plain {
			b = appendField(b, trailers[i].Name, trailers[i].Value)
		}
	}
	return append(b, '\r', '\n')
}
