package mesh

import (
	"net"
	"strconv"
	"strings"
	"time"
)

// Instance is one running copy of a service, as the registry knows it. Instances that were handed
// out are never modified.
type Instance struct {
	// ID is unique in the mesh and kept by the instance for as long as it lives.
	ID string
	// Service is the name as registered; names are compared without case (ServiceKey).
	Service string
	// Incarnation tells one registration of an ID from the next: it rises with each of them, and
	// renewals and reports for another one do not count.
	Incarnation uint64
	// Address is a host name or an IP address that the reader can dial.
	Address string
	// Port is 1 to 65535.
	Port int
	// Metadata is free, but for the keys of the routing contract (lb_strategy, weight, scheme …).
	Metadata map[string]string
	// Check says how the instance wants to be probed; nil for not at all.
	Check *Check
	// Health is the current verdict.
	Health Health
	// HealthOutput is the last words of whoever gave the verdict.
	HealthOutput string
	// HealthAt is since when the instance has this health, whoever has said so meanwhile; zero until there
	// was a verdict.
	HealthAt time.Time
	// HealthBy is the source whose word the verdict is (SourceReport and so on), or empty for the health
	// that the registration began with.
	HealthBy string
	// Evidence is the last word of each source that the verdict was joined from, sorted by source.
	Evidence []Evidence
	// Draining instances finish what they have and are given nothing new.
	Draining bool
	// Lifetime is what keeps the instance registered.
	Lifetime Lifetime
	// TTL is the lease of a Leased instance; zero for others.
	TTL time.Duration
	// Registrar is who registered the instance: "anonymous", "service" or "admin".
	Registrar string
	// Node is the id of the node that holds the instance's session.
	Node string
	// RegisteredAt is the wall-clock time of this incarnation's registration.
	RegisteredAt time.Time
	// Revision is the registry's revision at which the record last changed.
	Revision Revision
}

// HostPort returns the address to dial, with brackets where IPv6 needs them.
func (i *Instance) HostPort() string { return net.JoinHostPort(i.Address, strconv.Itoa(i.Port)) }

// ServiceKey returns the form in which service names are compared: lower case.
func ServiceKey(name string) string { return strings.ToLower(name) }

// Check is how an instance is probed. The zero value is a TCP probe of the instance's port with the
// defaults below.
type Check struct {
	// HTTP is the path of an HTTP probe, with a leading slash; empty for a TCP probe.
	HTTP string
	// TLS sends an HTTP probe over TLS; a TCP probe has none.
	TLS bool
	// Port is probed at the instance's address; zero means the instance's own.
	Port int
	// Interval between probes; zero means CheckInterval.
	Interval time.Duration
	// Timeout of one probe, all of it; zero means CheckTimeout.
	Timeout time.Duration
	// Up is how many successes in a row make the instance passing again; zero means CheckUp.
	Up int
	// Down is how many failures in a row make the instance failing; zero means CheckDown.
	Down int
}

// What the zero values of a Check mean.
const (
	CheckInterval = 10 * time.Second
	CheckTimeout  = 2 * time.Second
	CheckUp       = 2
	CheckDown     = 3
)

// Lifetime says what keeps a registration alive.
type Lifetime uint8

const (
	// Held registrations live as long as their session's stream (Discovery.Open).
	Held Lifetime = iota
	// Leased registrations live as long as they are renewed within their TTL.
	Leased
	// Permanent registrations live until they are deregistered.
	Permanent
)

// Registration is what an instance says of itself when it joins.
type Registration struct {
	// Service is the name; see the wire packages for which names each of them admits.
	Service string
	// ID may be empty: the registry then makes one.
	ID string
	// Address may be empty, loopback or unspecified: it is then the caller's address as seen by the
	// node that accepts the call.
	Address string
	// Port is 1 to 65535.
	Port int
	// Metadata may be nil.
	Metadata map[string]string
	// Check may be nil.
	Check *Check
	// InitiallyFailing instances serve only after their first passing report or probe.
	InitiallyFailing bool
	// Lifetime is how the registration is kept alive; Open implies Held.
	Lifetime Lifetime
	// TTL is the lease of a Leased registration; zero means LeaseTTL.
	TTL time.Duration
	// Owner tells one run of a program from another that has the same ID: of two, the one that registered
	// later keeps it. It is chosen at random by each run; an empty one is nobody's.
	Owner string
}

// Ref names one incarnation of an instance. An Incarnation of zero means the current one, for
// clients that never learned theirs.
type Ref struct {
	ID          string
	Incarnation uint64
}

// Report is a word on an instance's health.
type Report struct {
	Health Health
	// Output is free text of at most 4 KiB; longer ones are cut.
	Output string
}

// Snapshot is the whole registry at one revision. It is never modified.
type Snapshot struct {
	// Revision at which every record was current.
	Revision Revision
	// Stale snapshots come from a node that cannot reach its store.
	Stale bool
	// Services maps ServiceKey to the instances, sorted by ID. No entry is empty.
	Services map[string][]*Instance
}

// Instances returns how many instances the snapshot holds.
func (s *Snapshot) Instances() int {
	n := 0
	for _, list := range s.Services {
		n += len(list)
	}
	return n
}
