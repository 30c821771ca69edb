package certificate

import "crypto/tls"

// choice finds the certificate for a name. It is immutable.
type choice struct {
	exact map[string][]*Pair
	// wild has the wildcards by what follows their first label.
	wild     map[string][]*Pair
	fallback *Pair
}

// newChoice prefers earlier pairs; the first is for clients that name no host, or one that none is for.
func newChoice(pairs []*Pair) *choice {
	c := &choice{exact: map[string][]*Pair{}, wild: map[string][]*Pair{}, fallback: pairs[0]}
	for _, p := range pairs {
		for _, name := range p.Names() {
			if len(name) > 2 && name[:2] == "*." {
				c.wild[name[2:]] = append(c.wild[name[2:]], p)
			} else {
				c.exact[name] = append(c.exact[name], p)
			}
		}
	}
	return c
}

// pick takes a certificate for exactly the name before a wildcard, which stands for one label. Of
// several for one name it takes the first whose key the client can use.
func (c *choice) pick(hello *tls.ClientHelloInfo) *tls.Certificate {
	fit := c.named(normal(hello.ServerName))
	switch len(fit) {
	case 0:
		return c.fallback.cert
	case 1:
		return fit[0].cert
	}
	for _, p := range fit {
		if hello.SupportsCertificate(p.cert) == nil {
			return p.cert
		}
	}
	return fit[0].cert
}

func (c *choice) named(name string) []*Pair {
	if name == "" {
		return nil
	}
	if fit := c.exact[name]; len(fit) > 0 {
		return fit
	}
	for i := range len(name) {
		if name[i] == '.' {
			return c.wild[name[i+1:]]
		}
	}
	return nil
}
