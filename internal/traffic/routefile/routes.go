package routefile

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/util/nearest"
)

// maxHosts is how many hosts one route may name.
const maxHosts = 1000

// methods that a route may take: the registered ones but for CONNECT and TRACE, which are not served,
// and PURGE.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY",
	"ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK", "MERGE",
	"MKACTIVITY", "MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MKWORKSPACE", "MOVE", "ORDERPATCH", "PROPFIND",
	"PROPPATCH", "PURGE", "REBIND", "REPORT", "SEARCH", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE",
	"UPDATEREDIRECTREF", "VERSION-CONTROL"}

func (p *parsing) readRoutes(v value) {
	if v.form == list && len(v.items) > MaxObjects {
		v.wrong("has more than %d routes", MaxObjects)
		return
	}
	v.list("[{name: orders, to: {service: orders}}]", func(v value) {
		o := object[route.Spec]{kind: "route", place: v.place, path: v.path}
		v.into, v.within = &o.problems, true
		o.spec = v.route()
		o.name = o.spec.Name
		p.routes = append(p.routes, o)
	})
}

func (v value) route() route.Spec {
	s := route.Spec{Origin: v.p.origin(v.place), Host: route.HostKeep}
	said := map[string]bool{}
	noted := func(key string, read func(value)) field {
		return field{key, func(v value) { said[key] = true; read(v) }}
	}
	v.fields(append([]field{
		noted("name", func(v value) { s.Name = v.routeName() }),
		{"match", func(v value) { v.match(&s) }},
		noted("rewrite", func(v value) { v.rewrite(&s) }),
		noted("to", func(v value) {
			v.fields([]field{{"service", func(v value) { s.Service, _ = v.serviceName() }}})
			if v.form == mapping && len(v.entries) == 0 {
				v.wrong("is empty; it wants {service: NAME}")
			}
		}),
		{"host", func(v value) { s.Host = v.upstreamHost() }},
		{"encoded_slash", func(v value) {
			_, ok := v.word("keep")
			s.KeepEncodedSlash = ok
		}},
		{"access_log", func(v value) {
			w, _ := v.word("off", "on")
			s.Unlogged = w == "off"
		}},
	}, append(policyFields(&s.Policy), limitsOf(&s.Policy))...))
	if v.form != mapping {
		return s
	}
	for _, key := range []string{"name", "to"} {
		if !said[key] {
			v.wrong("has no %s, which every route needs", key)
		}
	}
	v.checkSlashes(&s)
	if said["rewrite"] {
		v.checkRewrite(&s)
	}
	normalise(&s)
	return s
}

// normalise says the same in fewer ways: every path begins with "/", and to put that in the place of a
// prefix is to take the prefix off.
func normalise(s *route.Spec) {
	if s.ReplacePrefix == "/" {
		s.StripPrefix, s.ReplacePrefix = s.Prefix, ""
	}
	if s.Prefix == "/" {
		s.Prefix = ""
	}
	if s.StripPrefix == "/" {
		s.StripPrefix = ""
	}
}

func (v value) routeName() string {
	s, ok := v.str("orders")
	if ok && !name.MatchString(s) {
		v.wrong("%s is no name of a route: 1 to 128 letters, digits, dots, underscores and hyphens", shorten(s))
		return ""
	}
	return s
}

func (v value) serviceName() (string, bool) {
	s, ok := v.str("orders")
	if !ok {
		return "", false
	}
	if problem := wrongService(s); problem != "" {
		v.wrong("%s", problem)
		return "", false
	}
	return s, true
}

func (v value) match(s *route.Spec) {
	v.fields([]field{
		{"host", func(v value) { s.Hosts = v.hosts() }},
		{"path", func(v value) {
			v.fields([]field{
				{"exact", func(v value) { s.Exact = v.pathText("/orders/list") }},
				{"prefix", func(v value) { s.Prefix = v.prefixText() }},
			})
			if v.form == mapping && len(v.entries) != 1 {
				v.wrong("wants either exact or prefix")
			}
		}},
		{"methods", func(v value) { s.Methods = v.methodList() }},
	})
}

// hosts reads one host or a list of them.
func (v value) hosts() []string {
	if v.form != list {
		if h, ok := v.matchHost(); ok {
			return []string{h}
		}
		return nil
	}
	if len(v.items) == 0 || len(v.items) > maxHosts {
		v.wrong("has %d hosts; it wants 1 to %d, or is left out to take every host", len(v.items), maxHosts)
		return nil
	}
	var out []string
	seen := map[string]bool{}
	v.list("", func(v value) {
		h, ok := v.matchHost()
		if ok && seen[h] {
			v.wrong("%s is here twice", shorten(h))
		}
		seen[h] = true
		out = append(out, h)
	})
	return out
}

func (v value) matchHost() (string, bool) {
	s, ok := v.str("shop.example")
	if !ok {
		return "", false
	}
	h := strings.ToLower(s)
	if ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(h, "["), "]")); err == nil && ip.Is6() && ip.Zone() == "" {
		return "[" + ip.String() + "]", true
	}
	switch {
	case strings.Contains(h, "*"):
		v.wrong("%s holds a *; there are no patterns of hosts, so name each host", shorten(s))
	case strings.ContainsFunc(h, func(r rune) bool { return r > 0x7f }):
		v.wrong("%s holds characters beyond ASCII; write the name as it is sent, which begins with xn--", shorten(s))
	case strings.HasSuffix(h, "."):
		v.report(v.place, v.path, shorten(s)+" ends in a dot", strings.TrimSuffix(h, "."))
	case wrongHostPort(h, anyPort) == "":
		host, _, _ := net.SplitHostPort(h) // it was split before
		v.report(v.place, v.path, shorten(s)+" has a port; a route takes a host on every port", host)
	case wrongHostName(h) != "":
		v.wrong("%s", wrongHostName(h))
	default:
		return h, true
	}
	return "", false
}

func (v value) methodList() []string {
	var out []string
	v.list("[GET, POST]", func(v value) {
		s, ok := v.str("GET")
		if !ok {
			return
		}
		switch {
		case s == "CONNECT" || s == "TRACE":
			v.wrong("%s is not served", s)
		case !slices.Contains(methods, s):
			v.report(v.place, v.path, shorten(s)+" is no method", nearest.Word(s, methods))
		case slices.Contains(out, s):
			v.wrong("%s is here twice", s)
		default:
			out = append(out, s)
		}
	})
	if v.form == list && len(v.items) == 0 {
		v.wrong("is empty; leave it out to take every method")
	}
	return out
}

// pathText reads a path in its one canonical form: any other would never be matched.
func (v value) pathText(example string) string {
	s, ok := v.str(example)
	if !ok {
		return ""
	}
	strange := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"<>^{|}`+"`", r) }
	switch {
	case s[0] != '/':
		v.report(v.place, v.path, shorten(s)+" does not begin with a slash", "/"+s)
		return ""
	case strings.ContainsAny(s, "?#"):
		v.wrong("%s holds a query or a fragment; a path ends before ? and #", shorten(s))
		return ""
	case strings.ContainsFunc(s, strange):
		v.wrong("%s holds a character that paths have only percent-encoded, as %%20 for a space", shorten(s))
		return ""
	case len(s) > 4<<10:
		v.wrong("has more than 4KiB")
		return ""
	}
	canonical, _, problem := exchange.Canonical(nil, []byte(s))
	switch {
	case problem != "":
		v.wrong("%s is no path: %s", shorten(s), problem)
	case string(canonical) != s:
		v.report(v.place, v.path, shorten(s)+" is not in the form that paths are matched in", string(canonical))
	default:
		return s
	}
	return ""
}

// prefixText reads a path that is a prefix of others by whole segments. It means the same with a slash at
// its end and without.
func (v value) prefixText() string {
	s := v.pathText("/orders")
	if s == "/" {
		return s
	}
	return strings.TrimSuffix(s, "/")
}

func (v value) rewrite(s *route.Spec) {
	v.fields([]field{
		{"strip_prefix", func(v value) {
			if s.StripPrefix = v.prefixText(); s.StripPrefix == "/" {
				v.wrong("\"/\" takes nothing off; leave it out")
			}
		}},
		{"replace_prefix", func(v value) { s.ReplacePrefix = v.prefixText() }},
	})
	if v.form == mapping && len(v.entries) != 1 {
		v.wrong("wants either strip_prefix or replace_prefix")
	}
}

// checkRewrite refuses a rewrite that some requests of the route would not have.
func (v value) checkRewrite(s *route.Spec) {
	if len(*v.into) > 0 {
		return // what it would be compared with may be wrong itself
	}
	path := join(v.path, "rewrite")
	at := v.at("rewrite")
	switch {
	case s.ReplacePrefix != "" && s.Prefix == "":
		v.report(at, path, "replace_prefix needs a match.path.prefix that it replaces", "")
	case s.StripPrefix != "" && !hasSegments(s.Prefix+s.Exact, s.StripPrefix):
		v.report(at, path, "strip_prefix "+shorten(s.StripPrefix)+" is not the beginning of match.path", s.Prefix)
	}
}

// at returns the place of a key of the mapping.
func (v value) at(key string) place {
	i := slices.IndexFunc(v.entries, func(e entry) bool { return e.key == key })
	if i < 0 {
		return v.place
	}
	return v.entries[i].place
}

// hasSegments reports whether prefix is path or its first whole segments.
func hasSegments(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// checkSlashes refuses a path that no request of the route can have.
func (v value) checkSlashes(s *route.Spec) {
	if strings.Contains(s.Exact+s.Prefix, "%2F") && !s.KeepEncodedSlash {
		v.report(v.at("match"), join(v.path, "match.path"), "holds an encoded slash, which needs encoded_slash: keep", "")
	}
}

// upstreamHost reads what the endpoint is told to be.
func (v value) upstreamHost() string {
	s, ok := v.str(route.HostKeep)
	if !ok {
		return ""
	}
	words := []string{route.HostKeep, route.HostUpstream}
	near := nearest.Word(s, words)
	switch {
	case slices.Contains(words, s):
	case near != "":
		v.report(v.place, v.path, shorten(s)+" is neither keep, upstream nor the name of a host", near)
	case wrongHostName(s) != "" && wrongHostPort(s, 0) != "":
		v.wrong("%s is neither keep, upstream nor the name of a host", shorten(s))
	}
	return s
}

// claim is what a route takes: nothing tells two routes apart that share it.
type claim struct{ host, exact, prefix, method string }

// refuseShadowed refuses routes that have nothing of their own: all that they take is taken by others
// further up in the file, with the same hosts, path and methods.
func (p *parsing) refuseShadowed() {
	claims := map[claim]*object[route.Spec]{}
	for i := range p.routes {
		o := &p.routes[i]
		if len(o.problems) > 0 {
			continue
		}
		own := false
		var first *object[route.Spec]
		for _, c := range claimsOf(&o.spec) {
			if by := claims[c]; by == nil {
				claims[c], own = o, true
			} else if first == nil {
				first = by
			}
		}
		if !own {
			o.wrong(p, o.path, "takes nothing that route %q at %v does not take: the host, the path and the methods are the same", first.name, first.spec.Origin)
		}
	}
}

func claimsOf(s *route.Spec) []claim {
	hosts, taken := s.Hosts, s.Methods
	if len(hosts) == 0 {
		hosts = []string{""}
	}
	if len(taken) == 0 {
		taken = []string{""}
	}
	out := make([]claim, 0, len(hosts)*len(taken))
	for _, h := range hosts {
		for _, m := range taken {
			out = append(out, claim{h, s.Exact, s.Prefix, m})
		}
	}
	return out
}
