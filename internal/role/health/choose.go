package health

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/signal/probe"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// The keys of the family's metadata.
const (
	metaEndpoint = "health_check_endpoint"
	metaScheme   = "scheme"
	metaTCPPort  = "tcp_port"
)

// The bounds of all checks, whoever wrote them, and those of the family's.
const (
	leastInterval = time.Second
	leastTimeout  = 100 * time.Millisecond
	// mostTimeout, and the interval, are what a probe of a mute instance holds its worker for.
	mostTimeout = 10 * time.Second

	familyInterval = 5 * time.Second
	familyTimeout  = time.Second
	familyDown     = 3
)

// choose returns the check of an instance with its defaults filled in: what the file says of its service,
// else its own, else what its metadata says. ok is false for an instance that is not probed: its session
// or lease is its sign of life.
func (c *Config) choose(i *mesh.Instance, checks map[string]mesh.Check) (check mesh.Check, ok bool) {
	check, ok = checks[mesh.ServiceKey(i.Service)]
	switch {
	case ok:
	case i.Check != nil:
		check = *i.Check
	default:
		if check, ok = c.Metadata.check(i.Metadata); !ok {
			return mesh.Check{}, false
		}
	}
	check = probe.Filled(check, i.Port)
	check.Interval = max(check.Interval, leastInterval)
	check.Timeout = max(min(check.Timeout, check.Interval, mostTimeout), leastTimeout)
	check.Up, check.Down = max(check.Up, 1), max(check.Down, 1)
	return check, true
}

// check is that of the family's metadata: HTTP if it names an endpoint, else TCP if it names a port.
func (n *Numbers) check(metadata map[string]string) (mesh.Check, bool) {
	c := mesh.Check{Interval: max(n.Interval, familyInterval), Down: n.Down, Up: n.Up}
	if c.Down <= 0 {
		c.Down = familyDown
	}
	if endpoint := metadata[metaEndpoint]; endpoint != "" {
		path, scheme := splitEndpoint(endpoint)
		if scheme == "" {
			scheme = metadata[metaScheme]
		}
		c.HTTP, c.TLS, c.Timeout = path, strings.EqualFold(scheme, "https"), max(n.HTTPTimeout, familyTimeout)
		return c, true
	}
	if port, err := strconv.ParseUint(metadata[metaTCPPort], 10, 16); err == nil && port > 0 {
		c.Port, c.Timeout = int(port), max(n.TCPTimeout, familyTimeout)
		return c, true
	}
	return mesh.Check{}, false
}

// splitEndpoint admits "health", "/health" and "https://localhost:8080/health", of which the last has a
// scheme: probes go to the address of the registration, whatever the endpoint says.
func splitEndpoint(endpoint string) (path, scheme string) {
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		endpoint, scheme = u.RequestURI(), u.Scheme
	}
	if !strings.HasPrefix(endpoint, "/") {
		endpoint = "/" + endpoint
	}
	return endpoint, scheme
}
