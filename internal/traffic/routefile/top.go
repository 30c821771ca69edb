package routefile

import (
	"net/netip"
	"net/url"
	"strings"
)

// top reads the whole document.
func (p *parsing) top(v value) {
	f := p.file
	v.fields([]field{
		{"listeners", present(p.listeners)},
		{"control", present(func(v value) {
			v.fields([]field{
				{"address", intoAddress(&f.Control)},
				{"tls", func(v value) { f.ControlTLS = v.ownTLS() }},
			})
		})},
		{"discovery", present(func(v value) {
			v.fields([]field{
				{"address", intoAddress(&f.Discovery.Address)},
				{"anonymous", func(v value) { f.Discovery.Anonymous = v.flag() }},
				{"tls", func(v value) { f.Discovery.TLS = v.ownTLS() }},
			})
		})},
		{"dashboard", present(func(v value) {
			v.fields([]field{{"anonymous", func(v value) { f.Dashboard.Anonymous = v.flag() }}})
		})},
		{"trusted_proxies", present(p.trustedProxies)},
		{"limits", present(p.limits)},
		{"defaults", present(func(v value) {
			v.fields(append(policyFields(&f.Set.Defaults), field{"prefix", func(v value) { f.Set.NoPrefix = !v.flag() }}))
		})},
		{"services", present(p.readServices)},
		{"routes", present(p.readRoutes)},
		{"otlp", present(p.otlp)},
		{"access_log", present(p.accessLog)},
		{"compat", compat},
	})
	p.refuseUntrusted()
}

// compat refuses what would bring the family's defaults back: some of them open what is closed here, and a
// part of them is worse than none.
func compat(v value) {
	if _, ok := v.word("family"); ok {
		v.wrong("the family's defaults as a whole need rate limits, CORS, tokens of users and HTTPS, which this version " +
			"does not have; leave it out and set what is wanted by itself, such as defaults.retry.methods: all and discovery.anonymous: true")
	}
}

// present reads nothing where nothing is: a section whose lines are all commented out is no mistake.
func present(read func(value)) func(value) {
	return func(v value) {
		if v.form != absent {
			read(v)
		}
	}
}

func intoAddress(a *Address) func(value) {
	return func(v value) {
		if v.form == number {
			v.wrong("is a number; it wants HOST:PORT, such as 127.0.0.1:5000")
			return
		}
		s, ok := v.str("127.0.0.1:5000")
		if !ok {
			return
		}
		if problem := wrongHostPort(s, anyPort|anyHost); problem != "" {
			v.wrong("%s", problem)
			return
		}
		*a = Address{HostPort: s, Origin: v.p.origin(v.place)}
	}
}

func (p *parsing) trustedProxies(v value) {
	v.list("[10.0.0.0/8]", func(v value) {
		s, ok := v.str("10.0.0.0/8")
		if !ok {
			return
		}
		if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
			addr = addr.Unmap()
			p.file.TrustedProxies = append(p.file.TrustedProxies, netip.PrefixFrom(addr, addr.BitLen()))
			return
		}
		prefix, err := netip.ParsePrefix(s)
		switch {
		case err != nil || prefix.Addr().Is4In6():
			v.wrong("%s is neither a network, such as 10.0.0.0/8, nor an IP address", shorten(s))
		case prefix != prefix.Masked():
			v.report(v.place, v.path, shorten(s)+" has bits set behind its mask", prefix.Masked().String())
		default:
			p.file.TrustedProxies = append(p.file.TrustedProxies, prefix)
		}
	})
}

func (p *parsing) limits(v value) {
	l := &p.file.Limits
	v.fields(append([]field{
		{"fields", func(v value) { l.Fields = v.count(10_000) }},
		{"field_bytes", func(v value) { l.FieldBytes = v.size(256, 1<<20) }},
		{"head_bytes", func(v value) { l.HeadBytes = v.size(1<<10, 4<<20) }},
	}, limitFields(&p.file.Set.Defaults)...))
	if l.FieldBytes > 0 && l.HeadBytes > 0 && l.FieldBytes > l.HeadBytes {
		v.wrong("field_bytes is more than head_bytes, which counts all fields together")
	}
}

func (p *parsing) otlp(v value) {
	o := &p.file.OTLP
	o.Origin = p.origin(v.place)
	v.fields([]field{
		{"endpoint", func(v value) { o.Endpoint, _ = v.otlpEndpoint() }},
		{"protocol", func(v value) {
			if s, ok := v.word(OTLPGRPC, OTLPHTTP); ok {
				o.Protocol = s
			}
		}},
		{"ratio", func(v value) {
			if r, ok := v.ratio(); ok {
				o.Ratio = r
			}
		}},
		{"insecure", func(v value) { o.Insecure = v.flag() }},
	})
	if o.Insecure && strings.HasPrefix(o.Endpoint, "https://") {
		v.wrong("insecure contradicts the https of endpoint")
	}
}

func (v value) otlpEndpoint() (string, bool) {
	s, ok := v.str("127.0.0.1:4317")
	if !ok {
		return "", false
	}
	if !strings.Contains(s, "://") {
		if problem := wrongHostPort(s, 0); problem != "" {
			v.wrong("%s; an http or https URL is possible too", problem)
			return "", false
		}
		return s, true
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" {
		v.wrong("%s is neither HOST:PORT nor an http or https URL without user and query", shorten(s))
		return "", false
	}
	return s, true
}
