package dashboardapi

import (
	"maps"
	"slices"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// catalogItem is one service as the family's dashboard shows it.
type catalogItem struct {
	ServiceName string              `json:"serviceName"`
	Instances   []instance          `json:"instances"`
	Health      []monitoredInstance `json:"health"`
	Metadata    metadataSummary     `json:"metadata"`
}

// instance is a ServiceInstance.
type instance struct {
	ServiceName     string            `json:"serviceName"`
	ServiceID       string            `json:"serviceId"`
	Address         string            `json:"address"`
	Port            int               `json:"port"`
	Status          int               `json:"status"`
	Metadata        map[string]string `json:"metadata"`
	RegisteredAt    time.Time         `json:"registeredAt"`
	LastHealthCheck time.Time         `json:"lastHealthCheck"`
}

// monitoredInstance is what the family's health monitor tells of an instance.
type monitoredInstance struct {
	ServiceID     string            `json:"serviceId"`
	ServiceName   string            `json:"serviceName"`
	Address       string            `json:"address"`
	Port          int               `json:"port"`
	Status        int               `json:"status"`
	LastProbe     time.Time         `json:"lastProbe"`
	LastProbeType string            `json:"lastProbeType"`
	Message       *string           `json:"message"`
	Metadata      map[string]string `json:"metadata"`
}

// metadataSummary tells which keys the instances of a service have.
type metadataSummary struct {
	ServiceName   string       `json:"serviceName"`
	InstanceCount int          `json:"instanceCount"`
	GeneratedAt   time.Time    `json:"generatedAt"`
	Keys          []keySummary `json:"keys"`
}

// keySummary tells how many instances have the key, and with which values.
type keySummary struct {
	Key           string   `json:"key"`
	InstanceCount int      `json:"instanceCount"`
	Values        []string `json:"values"`
}

// The numbers of the family's HealthStatus.
const (
	statusHealthy   = 1
	statusUnhealthy = 2
	statusDegraded  = 3
)

// The lastProbeType of a probe, and of a verdict that no probe gave.
const (
	byHTTP     = "http"
	byTCP      = "tcp"
	byRegistry = "registry"
)

func (h *handler) instance(i *mesh.Instance) instance {
	heard := i.HealthAt
	if h.opt.Liveness != nil {
		if t, ok := h.opt.Liveness.LastHeard(i.ID); ok {
			heard = t
		}
	}
	return instance{
		ServiceName: i.Service, ServiceID: i.ID, Address: i.Address, Port: i.Port, Status: status(i),
		Metadata: metadata(i), RegisteredAt: ticks(i.RegisteredAt), LastHealthCheck: ticks(heard),
	}
}

// monitor tells the registry's verdict, and what the last probe found if there was one. Otherwise the time
// is the family's word for unknown, the year 1.
func monitor(i *mesh.Instance, p *mesh.ProbeStatus) monitoredInstance {
	m := monitoredInstance{
		ServiceID: i.ID, ServiceName: i.Service, Address: i.Address, Port: i.Port,
		Status: status(i), LastProbeType: byRegistry, Metadata: metadata(i),
	}
	message := i.HealthOutput
	if p != nil && p.Incarnation == i.Incarnation && !p.At.IsZero() {
		m.LastProbe, m.LastProbeType, message = ticks(p.At), byTCP, p.Output
		if p.Check.HTTP != "" {
			m.LastProbeType = byHTTP
		}
	}
	if message != "" {
		m.Message = &message
	}
	return m
}

// status says degraded of a draining instance, which is given nothing new.
func status(i *mesh.Instance) int {
	switch i.Health {
	case mesh.Passing:
		if i.Draining {
			return statusDegraded
		}
		return statusHealthy
	case mesh.Degraded:
		return statusDegraded
	case mesh.Failing, mesh.Suspect:
		return statusUnhealthy
	}
	return 0
}

func metadata(i *mesh.Instance) map[string]string {
	if i.Metadata == nil {
		return map[string]string{}
	}
	return i.Metadata
}

func summarize(list []*mesh.Instance, at time.Time) metadataSummary {
	out := metadataSummary{ServiceName: list[0].Service, InstanceCount: len(list), GeneratedAt: at, Keys: []keySummary{}}
	values := map[string][]string{}
	for _, i := range list {
		for k, v := range i.Metadata {
			values[k] = append(values[k], v)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(values)) {
		all := values[k]
		one := keySummary{Key: k, InstanceCount: len(all)}
		slices.Sort(all)
		one.Values = slices.Compact(all)
		out.Keys = append(out.Keys, one)
	}
	return out
}

// ticks is a time at the resolution that the family's clients keep.
func ticks(t time.Time) time.Time { return t.UTC().Truncate(100 * time.Nanosecond) }
