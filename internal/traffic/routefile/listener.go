package routefile

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
)

// Listener is an address that the gateway accepts on.
type Listener struct {
	// Address is empty for the default of one that has one.
	Address Address
	// Redirect answers each request by where it is over TLS.
	Redirect bool
	// ProxyProtocol says that connections begin with a PROXY header.
	ProxyProtocol bool
	// TLS is nil on a plain listener.
	TLS    *TLS
	Origin route.Origin
}

// TLS is how TLS is spoken on a listener. Paths are as they were written.
type TLS struct {
	// Certificates, at least one; the first is for clients that name no host that another is for.
	Certificates []Certificate
	// MinVersion is "1.2", "1.3", or empty for the default.
	MinVersion string
	// Clients is RequireClients, VerifyClients, or empty where clients are not asked, and ClientCA the
	// file of the authorities that vouch for them.
	Clients, ClientCA string
}

// Certificate names the two files of a pair.
type Certificate struct{ Cert, Key string }

// What TLS.Clients may be.
const (
	RequireClients = "require"
	VerifyClients  = "verify_if_given"
)

// maxListeners bounds the listeners of a file.
const maxListeners = 64

// listenerName is what listeners are called.
var listenerName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$`)

func (p *parsing) listeners(v value) {
	if !v.is(mapping, "{"+GatewayListener+": …}") {
		return
	}
	if len(v.entries) > maxListeners {
		v.wrong("has more than %d listeners", maxListeners)
		return
	}
	p.file.Listeners = map[string]Listener{}
	secure := false
	for _, e := range v.entries {
		at := v.child(e.key, e.value)
		at.checkListenerName(e)
		l := at.listener(e)
		p.file.Listeners[e.key] = l
		secure = secure || l.TLS != nil
	}
	for _, e := range v.entries {
		if l := p.file.Listeners[e.key]; l.Redirect && !secure {
			v.child(e.key, e.value).report(e.place, join(v.path, e.key), "redirects to https, and no listener has certificates", "")
		}
	}
}

// refuseUntrusted refuses listeners that nobody could connect to: a PROXY header is taken from trusted
// proxies alone.
func (p *parsing) refuseUntrusted() {
	for _, name := range slices.Sorted(maps.Keys(p.file.Listeners)) {
		if l := p.file.Listeners[name]; l.ProxyProtocol && len(p.file.TrustedProxies) == 0 {
			p.problems.add(Problem{Origin: l.Origin, Path: "listeners." + name, Fatal: true,
				Reason: "wants a PROXY header, which is taken from trusted_proxies alone, and there are none"})
		}
	}
}

func (v value) checkListenerName(e entry) {
	_, twice := v.p.file.Listeners[e.key]
	switch {
	case twice:
		v.report(e.place, v.path, "is here twice", "")
	case e.key == "control" || e.key == "discovery":
		v.report(e.place, v.path, "is no listener of the gateway; it is a key of the file's own, beside listeners", "")
	case !listenerName.MatchString(e.key):
		v.report(e.place, v.path, shorten(e.key)+" is no name of a listener: 1 to 32 small letters, digits and hyphens, a letter first", "")
	}
}

func (v value) listener(e entry) Listener {
	l := Listener{Origin: v.p.origin(e.place)}
	t := TLS{}
	fields := append([]field{
		{"address", intoAddress(&l.Address)},
		{"redirect", func(v value) {
			_, l.Redirect = v.word("https")
		}},
		{"proxy_protocol", func(v value) { l.ProxyProtocol = v.flag() }},
		{"protocols", func(v value) { v.protocols() }},
		{"certificates", func(v value) { t.Certificates = v.certificates() }},
	}, t.fields()...)
	v.fields(fields)
	if v.form != mapping {
		return l
	}
	if v.has("certificates") {
		l.TLS = &t
	}
	switch {
	case l.TLS == nil && e.key == GatewayTLSListener:
		v.wrong("has no certificates; it wants some, such as certificates: [{cert: shop.crt, key: shop.key}]")
	case l.TLS == nil && (v.has("min_version") || v.has("client_certificates")):
		v.wrong("speaks of TLS and has no certificates")
	case l.TLS != nil && l.Redirect:
		v.wrong("redirects to https, which it speaks itself")
	case !v.has("address") && e.key != GatewayListener && e.key != GatewayTLSListener:
		v.wrong("has no address")
	}
	return l
}

// fields are what listeners and our own ports share.
func (t *TLS) fields() []field {
	return []field{
		{"min_version", func(v value) { t.MinVersion = v.version() }},
		{"client_certificates", func(v value) {
			v.fields([]field{
				{"mode", func(v value) { t.Clients, _ = v.word(RequireClients, VerifyClients) }},
				{"ca", func(v value) { t.ClientCA = v.file("clients-ca.pem") }},
			})
			if v.form == mapping && !(v.has("mode") && v.has("ca")) {
				v.wrong("wants both mode and ca: without authorities nobody can be verified")
			}
		}},
	}
}

// version reads the least version of TLS. YAML takes it for a number, and it is told how to write it.
func (v value) version() string {
	if v.form == number {
		v.report(v.place, v.path, "is a number; put it into quotes to make it text", v.text)
		return ""
	}
	s, _ := v.word("1.2", "1.3")
	return s
}

// protocols reads what is spoken behind TLS, or without it.
func (v value) protocols() {
	v.list("[http/1.1]", func(v value) {
		switch s, ok := v.str("http/1.1"); {
		case !ok:
		case s == "h2" || s == "h2c" || s == "h3":
			v.wrong("%s comes later; this version speaks http/1.1", s)
		default:
			v.word("http/1.1")
		}
	})
	if v.form == list && len(v.items) == 0 {
		v.wrong("is empty; leave it out for http/1.1")
	}
}

func (v value) certificates() []Certificate {
	var out []Certificate
	v.list("[{cert: shop.crt, key: shop.key}]", func(v value) {
		out = append(out, v.certificate())
	})
	if v.form == list && len(v.items) == 0 {
		v.wrong("is empty; it wants at least one, such as {cert: shop.crt, key: shop.key}")
	}
	return out
}

// certificate reads a pair. The key may be in the certificate's file.
func (v value) certificate() (c Certificate) {
	v.fields([]field{
		{"cert", func(v value) { c.Cert = v.file("shop.crt") }},
		{"key", func(v value) { c.Key = v.file("shop.key") }},
	})
	v.wholePair()
	return c
}

func (v value) wholePair() {
	if v.form == mapping && !(v.has("cert") && v.has("key")) {
		v.wrong("wants both cert and key")
	}
}

// has reports whether a mapping has the key.
func (v value) has(key string) bool {
	return slices.ContainsFunc(v.entries, func(e entry) bool { return e.key == key })
}

// file reads a path; what is none is told, and empty.
func (v value) file(example string) string {
	s, _ := v.str(example)
	if strings.ContainsRune(s, 0) {
		v.wrong("is no path of a file")
		return ""
	}
	return s
}

// ownTLS reads how TLS is spoken on a port of our own.
func (v value) ownTLS() *TLS {
	var c Certificate
	t := &TLS{}
	v.fields(append([]field{
		{"cert", func(v value) { c.Cert = v.file("control.crt") }},
		{"key", func(v value) { c.Key = v.file("control.key") }},
	}, t.fields()[:1]...))
	v.wholePair()
	t.Certificates = []Certificate{c}
	return t
}

// serviceTLS reads how the endpoints of a service are spoken to.
func (v value) serviceTLS(s *route.ServiceSpec) {
	s.Secure = true
	v.fields([]field{
		{"ca", func(v value) { s.TLS.CA = v.file("ca.pem") }},
		{"server_name", func(v value) {
			name, ok := v.str("orders.internal")
			if problem := wrongHostName(name); ok && problem != "" {
				v.wrong("%s", problem)
				return
			}
			s.TLS.ServerName = strings.ToLower(strings.TrimSuffix(name, "."))
		}},
		{"client_certificate", func(v value) {
			c := v.certificate()
			s.TLS.Cert, s.TLS.Key = c.Cert, c.Key
		}},
	})
}

// Secure returns the names of the listeners that speak TLS, the one that others redirect to first:
// GatewayTLSListener if it is there, else the first by name.
func (f *File) Secure() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(f.Listeners)) {
		switch {
		case f.Listeners[name].TLS == nil:
		case name == GatewayTLSListener:
			out = append([]string{name}, out...)
		default:
			out = append(out, name)
		}
	}
	return out
}
