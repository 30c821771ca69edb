package exchange

import "bytes"

// Kind is what a field means to a proxy.
type Kind uint8

const (
	// Plain fields pass end to end.
	Plain Kind = iota
	// Host is read by the parser and written anew, as the framing fields are.
	Host
	// ContentLength frames the body, or TransferEncoding does.
	ContentLength
	// TransferEncoding frames the body, or ContentLength does.
	TransferEncoding
	// Connection and what else is said to the next hop only (RFC 9110 section 7.6.1).
	Connection
	// HopByHop fields are said to the next hop whatever Connection lists.
	HopByHop
	// Upgrade is said to the next hop, and anew to the one after where the protocol is allowed.
	Upgrade
	// TE and Trailer are said to the next hop, but their meaning is kept: trailers pass.
	TE
	// Trailer tells which fields follow the body.
	Trailer
	// Expect is answered here.
	Expect
	// Forwarding fields (X-Forwarded-*, Forwarded, X-Real-IP, Client-Cert …) are ours to say; a stranger's
	// are removed.
	Forwarding
	// Refused fields never pass: Proxy, X-Original-URL and every name with an underscore.
	Refused
	// RequestID is passed on if it is sane.
	RequestID
	// TraceParent goes on with a new parent.
	TraceParent
	// TraceState goes on with a trace that could be read.
	TraceState
	// Hops counts the gateways of this mesh that a request has passed.
	Hops
	// Date is written anew into an answer that has none.
	Date
)

// KindOf classifies a field name, compared without case. A name that only becomes one of those below
// when '_' and '.' are taken for '-' is Refused: upstreams that map them together (CGI) cannot be fooled.
func KindOf(name []byte) Kind {
	if isForwarded(name) {
		if EqualFold(name[:len(forwardedPrefix)], forwardedPrefix) && plainUnlessUnderscore(name) == Plain {
			return Forwarding
		}
		return Refused
	}
	if len(name) >= len(kinds) {
		return plainUnlessUnderscore(name)
	}
	for i := range kinds[len(name)] {
		k := &kinds[len(name)][i]
		if !matches(name, k.name) {
			continue
		}
		if EqualFold(name, k.name) {
			return k.kind
		}
		return Refused
	}
	return plainUnlessUnderscore(name)
}

// forwardedPrefix begins the names of the family of fields that is ours to say as a whole: upstreams
// believe members of it that nobody has listed.
const forwardedPrefix = "x-forwarded-"

// isForwarded reports whether a name belongs to that family, in any spelling.
func isForwarded(name []byte) bool {
	return len(name) > len(forwardedPrefix) && lower[name[0]] == 'x' && matches(name[:len(forwardedPrefix)], forwardedPrefix)
}

func matches(name []byte, want string) bool {
	for i := range name {
		if aliased[name[i]] != want[i] {
			return false
		}
	}
	return true
}

func plainUnlessUnderscore(name []byte) Kind {
	if bytes.IndexByte(name, '_') >= 0 {
		return Refused
	}
	return Plain
}

type namedKind struct {
	name string
	kind Kind
}

// kinds is indexed by the length of the name.
var kinds = func() (t [24][]namedKind) {
	for _, k := range []namedKind{
		{"host", Host},
		{"content-length", ContentLength},
		{"transfer-encoding", TransferEncoding},
		{"connection", Connection},
		{"keep-alive", HopByHop},
		{"proxy-connection", HopByHop},
		{"proxy-authenticate", HopByHop},
		{"proxy-authorization", HopByHop},
		{"http2-settings", HopByHop},
		{"upgrade", Upgrade},
		{"te", TE},
		{"trailer", Trailer},
		{"expect", Expect},
		{"forwarded", Forwarding},
		{"x-real-ip", Forwarding},
		{"client-cert", Forwarding},
		{"client-cert-chain", Forwarding},
		{"x-client-cert", Forwarding},
		{"x-client-certificate", Forwarding},
		{"x-ssl-cert", Forwarding},
		{"x-ssl-client-cert", Forwarding},
		{"ssl-client-cert", Forwarding},
		{"x-arr-clientcert", Forwarding},
		{"x-original-url", Refused},
		{"x-rewrite-url", Refused},
		{"proxy", Refused},
		{"x-request-id", RequestID},
		{"traceparent", TraceParent},
		{"tracestate", TraceState},
		{"toska-hops", Hops},
		{"date", Date},
	} {
		t[len(k.name)] = append(t[len(k.name)], k)
	}
	return t
}()

// aliased lowers letters and maps '_' and '.' to '-'.
var aliased = func() (t [256]byte) {
	t = lower
	t['_'], t['.'] = '-', '-'
	return t
}()
