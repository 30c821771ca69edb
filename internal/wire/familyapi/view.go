package familyapi

import (
	"maps"
	"slices"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// instanceView is a ServiceInstance of the family's REST surface.
type instanceView struct {
	ServiceName     string            `json:"serviceName"`
	ServiceID       string            `json:"serviceId"`
	Address         string            `json:"address"`
	Port            int               `json:"port"`
	Status          int               `json:"status"`
	Metadata        map[string]string `json:"metadata"`
	RegisteredAt    time.Time         `json:"registeredAt"`
	LastHealthCheck time.Time         `json:"lastHealthCheck"`
}

func (h *handler) view(i *mesh.Instance) instanceView {
	v := instanceView{
		ServiceName: i.Service, ServiceID: i.ID, Address: i.Address, Port: i.Port,
		Status: int(status(i)), Metadata: i.Metadata,
		RegisteredAt: ticks(i.RegisteredAt), LastHealthCheck: ticks(h.heard(i)),
	}
	if v.Metadata == nil {
		v.Metadata = map[string]string{}
	}
	return v
}

// ticks is a time at the resolution that the family's clients keep. The zero time stays the year 1, which
// is their word for unknown.
func ticks(t time.Time) time.Time { return t.UTC().Truncate(100 * time.Nanosecond) }

// metadataSummary is a MetadataSummary of the family's REST surface.
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

// summarize is of the service as its instances spell it, or as it was asked for.
func summarize(asked string, list []*mesh.Instance) metadataSummary {
	out := metadataSummary{ServiceName: asked, InstanceCount: len(list), GeneratedAt: ticks(time.Now()), Keys: []keySummary{}}
	if len(list) > 0 {
		out.ServiceName = list[0].Service
	}
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
