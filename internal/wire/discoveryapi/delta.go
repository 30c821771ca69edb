package discoveryapi

import (
	"maps"
	"slices"
	"strings"

	discoveryv1 "github.com/toska-mesh/toska-mesh/api/discovery/v1"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// change is what a watcher is told: services that changed, each whole, and without instances if gone.
type change struct {
	revision mesh.Revision
	stale    bool
	full     bool
	services []serviceInstances
}

// serviceInstances is one service under its key.
type serviceInstances struct {
	key       string
	instances []*mesh.Instance
}

// differ turns the snapshots of one watch into changes.
type differ struct {
	// service limits the changes to one service; empty for all.
	service string
	last    *mesh.Snapshot
}

// next returns what changed since the snapshot before. It is false when the watcher has nothing to be
// told: only other services changed.
func (d *differ) next(s *mesh.Snapshot) (change, bool) {
	last := d.last
	d.last = s
	c := change{revision: s.Revision, stale: s.Stale, full: last == nil}
	if last == nil {
		for key, list := range s.Services {
			if d.wants(key) {
				c.services = append(c.services, serviceInstances{key, list})
			}
		}
		sortServices(c.services)
		return c, true
	}
	for key, list := range s.Services {
		if d.wants(key) && !slices.Equal(last.Services[key], list) {
			c.services = append(c.services, serviceInstances{key, list})
		}
	}
	for key := range last.Services {
		if _, still := s.Services[key]; !still && d.wants(key) {
			c.services = append(c.services, serviceInstances{key, nil})
		}
	}
	sortServices(c.services)
	return c, d.service == "" || len(c.services) > 0 || last.Stale != s.Stale
}

func (d *differ) wants(key string) bool { return d.service == "" || mesh.ServiceKey(d.service) == key }

func sortServices(list []serviceInstances) {
	slices.SortFunc(list, func(a, b serviceInstances) int { return strings.Compare(a.key, b.key) })
}

// message is the change on the wire.
func (c change) message() *discoveryv1.WatchResponse {
	return &discoveryv1.WatchResponse{Revision: c.revision.String(), Stale: c.stale, Full: c.full,
		Services: toProtoServices(c.services)}
}

func toProtoServices(list []serviceInstances) []*discoveryv1.ServiceInstances {
	out := make([]*discoveryv1.ServiceInstances, 0, len(list))
	for _, s := range list {
		p := &discoveryv1.ServiceInstances{Service: s.key, Instances: make([]*discoveryv1.Instance, 0, len(s.instances))}
		for _, i := range s.instances {
			p.Instances = append(p.Instances, toProtoInstance(i))
		}
		out = append(out, p)
	}
	return out
}

// patch returns the snapshot that follows last by the message. The maps of the two share the services
// that did not change.
func patch(last *mesh.Snapshot, m *discoveryv1.WatchResponse) (*mesh.Snapshot, error) {
	rev, err := mesh.ParseRevision(m.GetRevision())
	if err != nil {
		return nil, err
	}
	next := &mesh.Snapshot{Revision: rev, Stale: m.GetStale()}
	if m.GetFull() || last == nil {
		next.Services = make(map[string][]*mesh.Instance, len(m.GetServices()))
	} else {
		next.Services = maps.Clone(last.Services)
	}
	for _, s := range m.GetServices() {
		if len(s.GetInstances()) == 0 {
			delete(next.Services, s.GetService())
			continue
		}
		list := make([]*mesh.Instance, 0, len(s.GetInstances()))
		for _, p := range s.GetInstances() {
			i, err := fromProtoInstance(p)
			if err != nil {
				return nil, err
			}
			list = append(list, &i)
		}
		next.Services[s.GetService()] = list
	}
	return next, nil
}
