package routefile

import (
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// serviceSpec is what a file says of a service: the part about routing, and how its instances are probed.
type serviceSpec struct {
	route.ServiceSpec
	check *mesh.Check
}

// The bounds of a check, which are those of a registration's.
const (
	checkLeastInterval = time.Second
	checkLeastTimeout  = 100 * time.Millisecond
	checkMostTimeout   = time.Minute
	checkMostInARow    = 100
	checkMostPath      = 2048
)

// check reads how the instances of a service are probed. It is one of HTTP and TCP, and says which.
func (v value) check() *mesh.Check {
	c := &mesh.Check{}
	tcp := false
	v.fields([]field{
		{"http", func(v value) { c.HTTP = v.checkPath() }},
		{"tcp", func(v value) {
			if tcp = v.flag(); !tcp && v.form == boolean {
				v.wrong("is false; leave it out and name a path in http, or leave the check out")
			}
		}},
		{"port", func(v value) { c.Port = v.count(65535) }},
		{"interval", func(v value) { c.Interval = v.durationIn(checkLeastInterval, maxDuration) }},
		{"timeout", func(v value) { c.Timeout = v.durationIn(checkLeastTimeout, checkMostTimeout) }},
		{"up", func(v value) { c.Up = v.count(checkMostInARow) }},
		{"down", func(v value) { c.Down = v.count(checkMostInARow) }},
		{"tls", func(v value) { c.TLS = v.flag() }},
	})
	if v.form != mapping {
		return nil
	}
	http := v.has("http")
	switch {
	case http && v.has("tcp"):
		v.wrong("has both http and tcp; a service has one check")
	case !http && !v.has("tcp"):
		v.wrong("says neither how: name a path in http, or write tcp: true")
	case c.TLS && !http:
		v.wrong("tls is for http; a TCP probe speaks no TLS")
	}
	return c
}

// checkPath reads a path that is sent as it is.
func (v value) checkPath() string {
	s, ok := v.str("/healthz")
	if !ok {
		return ""
	}
	if s[0] != '/' || len(s) > checkMostPath || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		v.wrong("%s is no path: it begins with / and has no spaces", shorten(s))
		return ""
	}
	return s
}

// durationIn reads a duration within bounds; what is none is told, and 0.
func (v value) durationIn(least, most time.Duration) time.Duration {
	d := v.duration()
	if d > 0 && (d < least || d > most) {
		v.wrong("%s is not from %s to %s", shorten(v.text), durationText(least), durationText(most))
		return 0
	}
	return d
}

// durationText leaves out the units that are zero.
func durationText(d time.Duration) string {
	s := d.String()
	if d%time.Minute == 0 {
		s = strings.TrimSuffix(s, "0s")
	}
	if d%time.Hour == 0 {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
