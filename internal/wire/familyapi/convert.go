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
	// mostSeconds keeps a client's number within what a duration and the registry hold.
	mostSeconds = 12 * 60 * 60
)

func registration(req *familyv1.RegisterServiceRequest) mesh.Registration {
	r := mesh.Registration{
		Service: req.GetServiceName(), ID: req.GetServiceId(), Address: req.GetAddress(),
		Port: int(req.GetPort()), Metadata: req.GetMetadata(), Lifetime: mesh.Leased,
	}
	if r.ID == "" {
		r.ID = newID()
	}
	interval := defaultInterval
	if c := req.GetHealthCheck(); c != nil {
		if c.GetIntervalSeconds() != 0 {
			interval = max(leastInterval, seconds(c.GetIntervalSeconds()))
		}
		r.Check = check(c, interval)
	}
	r.TTL = max(leastTTL, interval+ttlSlack)
	return r
}

// check is nil without an endpoint: there is nothing to ask then, the client reports by itself.
func check(c *familyv1.HealthCheckConfig, interval time.Duration) *mesh.Check {
	if c.GetEndpoint() == "" {
		return nil
	}
	down := int(c.GetUnhealthyThreshold())
	if down <= 0 {
		down = defaultDown
	}
	return &mesh.Check{HTTP: endpointPath(c.GetEndpoint()), Interval: interval,
		Timeout: max(leastTimeout, seconds(c.GetTimeoutSeconds())), Down: down}
}

// endpointPath admits "health", "/health" and "http://localhost:8080/health": probes go to the address
// of the registration, whatever the endpoint says.
func endpointPath(endpoint string) string {
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		endpoint = u.RequestURI()
	}
	if !strings.HasPrefix(endpoint, "/") {
		endpoint = "/" + endpoint
	}
	return endpoint
}

func seconds(n int32) time.Duration { return time.Duration(min(n, mostSeconds)) * time.Second }

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

// familyField is a field of a registration under the name that it has in the family's request.
func familyField(field string) string {
	switch field {
	case "service":
		return "serviceName"
	case "id":
		return "serviceId"
	case "check.http":
		return "healthCheck.endpoint"
	}
	return field
}
