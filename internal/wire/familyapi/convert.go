package familyapi

import (
	"crypto/rand"
	"encoding/hex"
	"net/url"
	"strings"
	"time"

	familyv1 "github.com/toska-mesh/toska-mesh/api/family/discovery/v1"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// The bounds within which the family's clients are used to see their wishes brought.
const (
	leastInterval   = 5 * time.Second
	defaultInterval = 30 * time.Second
	leastTimeout    = time.Second
	defaultDown     = 3
	// leastTTL and ttlSlack make the lease: longer than the interval in which a client reports.
	leastTTL = 10 * time.Second
	ttlSlack = 5 * time.Second
	// mostInterval keeps the lease within what the registry holds.
	mostInterval = 12 * time.Hour
)

// wish is a registration as either of the protocols brings it.
type wish struct {
	name, id, address string
	port              int
	metadata          map[string]string
	// check is nil where the client said nothing of checks.
	check *wishedCheck
}

// wishedCheck has zero where nothing was said.
type wishedCheck struct {
	endpoint          string
	interval, timeout time.Duration
	down              int
}

// wishOf reads a gRPC registration.
func wishOf(req *familyv1.RegisterServiceRequest) wish {
	w := wish{name: req.GetServiceName(), id: req.GetServiceId(), address: req.GetAddress(),
		port: int(req.GetPort()), metadata: req.GetMetadata()}
	if c := req.GetHealthCheck(); c != nil {
		w.check = &wishedCheck{endpoint: c.GetEndpoint(), interval: seconds(c.GetIntervalSeconds()),
			timeout: seconds(c.GetTimeoutSeconds()), down: int(c.GetUnhealthyThreshold())}
	}
	return w
}

// registration brings the wishes within their bounds.
func (w *wish) registration() mesh.Registration {
	r := mesh.Registration{
		Service: w.name, ID: w.id, Address: w.address, Port: w.port, Metadata: w.metadata, Lifetime: mesh.Leased,
	}
	if r.ID == "" {
		r.ID = newID()
	}
	interval := defaultInterval
	if c := w.check; c != nil {
		if c.interval != 0 {
			interval = min(max(leastInterval, c.interval), mostInterval)
		}
		r.Check = c.check(interval, w.metadata)
	}
	r.TTL = max(leastTTL, interval+ttlSlack)
	return r
}

// check is nil without an endpoint: there is nothing to ask then, the client reports by itself. It speaks the
// scheme of the metadata, or of an endpoint that is a whole URL.
func (c *wishedCheck) check(interval time.Duration, metadata map[string]string) *mesh.Check {
	if c.endpoint == "" {
		return nil
	}
	down := c.down
	if down <= 0 {
		down = defaultDown
	}
	path, scheme := splitEndpoint(c.endpoint)
	if scheme == "" {
		scheme = metadata["scheme"]
	}
	return &mesh.Check{HTTP: path, TLS: strings.EqualFold(scheme, "https"), Interval: interval,
		Timeout: max(leastTimeout, c.timeout), Down: down}
}

// splitEndpoint admits "health", "/health" and "http://localhost:8080/health", of which the last has a
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

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

// newID returns a random GUID without dashes.
func newID() string {
	var b [16]byte
	// It never fails: the runtime ends the process first.
	_, _ = rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return hex.EncodeToString(b[:])
}

// verdict is false for unknown, and for a status of a later version.
func verdict(s familyv1.HealthStatus) (mesh.Health, bool) {
	switch s {
	case familyv1.HealthStatus_HEALTH_STATUS_HEALTHY:
		return mesh.Passing, true
	case familyv1.HealthStatus_HEALTH_STATUS_UNHEALTHY:
		return mesh.Failing, true
	case familyv1.HealthStatus_HEALTH_STATUS_DEGRADED:
		return mesh.Degraded, true
	case familyv1.HealthStatus_HEALTH_STATUS_UNKNOWN:
	}
	return mesh.Passing, false
}

// status says degraded of a draining instance: the family's gateways send nothing new to those.
func status(i *mesh.Instance) familyv1.HealthStatus {
	switch i.Health {
	case mesh.Passing:
		if i.Draining {
			return familyv1.HealthStatus_HEALTH_STATUS_DEGRADED
		}
		return familyv1.HealthStatus_HEALTH_STATUS_HEALTHY
	case mesh.Degraded:
		return familyv1.HealthStatus_HEALTH_STATUS_DEGRADED
	case mesh.Failing, mesh.Suspect:
		return familyv1.HealthStatus_HEALTH_STATUS_UNHEALTHY
	}
	return familyv1.HealthStatus_HEALTH_STATUS_UNKNOWN
}

// familyFields returns the wrong fields of a registration under the names that they have in the family's
// request.
func familyFields(fields []mesh.FieldError) []mesh.FieldError {
	var out []mesh.FieldError
	for _, f := range fields {
		switch f.Field {
		case "service":
			f.Field = "serviceName"
		case "id":
			f.Field = "serviceId"
		case "check.http":
			f.Field = "healthCheck.endpoint"
		}
		out = append(out, f)
	}
	return out
}
