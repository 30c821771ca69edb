package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// onlyService returns the part of a snapshot that is about one service.
func onlyService(s *mesh.Snapshot, name string) *mesh.Snapshot {
	key := mesh.ServiceKey(name)
	part := &mesh.Snapshot{Revision: s.Revision, Stale: s.Stale, Services: map[string][]*mesh.Instance{}}
	if list := s.Services[key]; len(list) > 0 {
		part.Services[key] = list
	}
	return part
}

// known is what a node tells beside its registry.
type known struct {
	probes    map[string]mesh.ProbeStatus // by instance
	upstreams upstreams
}

// describeService prints all that is known of one service.
func (e *Env) describeService(s *mesh.Snapshot, name string, k known, asJSON bool) error {
	list := s.Services[mesh.ServiceKey(name)]
	up := k.upstreams.of(name)
	if len(list) == 0 && (up == nil || up.Source != mesh.UpstreamFile && up.Quarantined == "") {
		return noService(s, name)
	}
	now := time.Now()
	d := detail(list, up, now)
	d.Revision, d.Stale = s.Revision.String(), s.Stale
	for n, i := range list {
		d.Instances[n].Probe = toProbeJSON(k.probes[i.ID], i)
	}
	if asJSON {
		enc := json.NewEncoder(e.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(d)
	}
	e.printDetail(d, up, now)
	return nil
}

func noService(s *mesh.Snapshot, name string) error {
	next := `put one there with "toska run --name ` + name + ` --port 9000 -- PROGRAM"`
	if names := slices.Sorted(maps.Keys(s.Services)); len(names) > 0 {
		const most = 12
		next = "registered now: " + strings.Join(names[:min(len(names), most)], ", ") + map[bool]string{true: " …"}[len(names) > most]
	}
	return fail(codeNotFound, next, "show service %s: %w", printable(name), mesh.ErrNotFound)
}

// serviceDetail is a service with the evidence for the state of each instance.
type serviceDetail struct {
	Name     string `json:"name"`
	Revision string `json:"revision"`
	Stale    bool   `json:"stale"`
	// Picked is how many instances the gateway chooses from now.
	Picked    int              `json:"picked"`
	Why       string           `json:"why"`
	Instances []instanceDetail `json:"instances"`
	// Source is where the gateway's endpoints are from, registry or file, and Origin the place in the file;
	// absent where the node does not say, as is what follows.
	Source string `json:"source,omitempty"`
	Origin string `json:"origin,omitempty"`
	// Quarantined is why the file's entry is not in force.
	Quarantined string `json:"quarantined,omitempty"`
	// Endpoints are what the gateway has seen of each.
	Endpoints []endpointJSON `json:"endpoints,omitempty"`
	Ejections uint64         `json:"ejections,omitempty"`
	Retries   uint64         `json:"retries,omitempty"`
}

type instanceDetail struct {
	instanceJSON
	// Picked says whether the gateway chooses this one now, Why on what evidence.
	Picked   bool       `json:"picked"`
	Why      string     `json:"why"`
	HealthBy string     `json:"healthBy,omitempty"`
	HealthAt *time.Time `json:"healthAt,omitempty"`
	// Evidence is the last word of each source on the health.
	Evidence []evidenceJSON `json:"evidence,omitempty"`
	// Probe is how the node's probe of it goes; absent where none is known.
	Probe          *probeJSON `json:"probe,omitempty"`
	Lifetime       string     `json:"lifetime"`
	LeaseSeconds   float64    `json:"leaseSeconds,omitempty"`
	Check          string     `json:"check,omitempty"`
	RecordRevision string     `json:"recordRevision"`
	// seen is what the gateway has seen of it.
	seen string
}

// detail joins what the registry knows of a service with what the gateway sees; up is nil where it does
// not say. One of both is there.
func detail(list []*mesh.Instance, up *mesh.UpstreamStatus, now time.Time) serviceDetail {
	d := serviceDetail{Instances: []instanceDetail{}}
	ups := upstreams{}
	if up != nil {
		d.Name, d.Source, d.Origin, d.Quarantined = up.Service, up.Source, up.Origin, up.Quarantined
		d.Endpoints, d.Ejections, d.Retries = toEndpointsJSON(up), up.Ejections, up.Retries
		ups[mesh.ServiceKey(up.Service)] = up
	}
	var class func(mesh.Health) bool
	if len(list) > 0 {
		d.Name = list[0].Service
		class, d.Why = pickedClass(list)
	}
	for _, i := range list {
		picked := inRotation(i) && class != nil && class(i.Health)
		why, seen := whyInstance(i, picked, now), ""
		if state := ups.stateOf(i); picked && state != "" {
			picked = false
			why += whyState(state)
		}
		if e := ups.endpointOf(i); e != nil {
			seen = seenText(e, now)
		}
		if picked {
			d.Picked++
		}
		one := instanceDetail{instanceJSON: toInstanceJSON(i), Picked: picked, Why: why, seen: seen,
			HealthBy: i.HealthBy, Evidence: toEvidenceJSON(i.Evidence), Lifetime: lifetimeWord(i.Lifetime), LeaseSeconds: lease(i).Seconds(),
			Check: checkText(i.Check), RecordRevision: i.Revision.String()}
		if !i.HealthAt.IsZero() {
			one.HealthAt = &i.HealthAt
		}
		d.Instances = append(d.Instances, one)
	}
	if up != nil {
		d.ofGateway(up)
	}
	return d
}

// ofGateway adds to the reason what the gateway does beside the registry's word.
func (d *serviceDetail) ofGateway(up *mesh.UpstreamStatus) {
	picked, out := pickedOf(up)
	if up.Source == mesh.UpstreamFile {
		d.Picked = picked
		d.Why = "the endpoints of the file are picked"
		if what := overrides(up); what != "" {
			d.Why += "; " + what
		}
	}
	if blocked(up) {
		d.Picked, d.Why = 0, ""
	} else if out > 0 {
		d.Why += fmt.Sprintf("; %d ejected by the gateway on what it saw", out)
	}
	if what := quarantineText(up); what != "" {
		d.Why = strings.TrimPrefix(d.Why+"; "+what, "; ")
	}
}

// whyState says why the gateway passes over an instance that the registry would have it pick.
func whyState(state string) string {
	switch state {
	case "ejected":
		return "; not picked for now: the gateway has ejected it on what it saw"
	case "overridden":
		return "; not picked: the endpoints of the file stand in its place"
	}
	return "; not picked: the file's entry for the service is quarantined"
}

// pickedClass returns which health the gateway picks from among these instances; nil for none. It is the
// registry's view.
func pickedClass(list []*mesh.Instance) (func(mesh.Health) bool, string) {
	count := map[mesh.Health]int{}
	for _, i := range list {
		if inRotation(i) {
			count[i.Health]++
		}
	}
	lastResort := func(h mesh.Health) bool { return h == mesh.Degraded || h == mesh.Suspect }
	switch {
	case count[mesh.Passing] > 0:
		return func(h mesh.Health) bool { return h == mesh.Passing }, "the passing ones are picked"
	case count[mesh.Degraded]+count[mesh.Suspect] > 0:
		return lastResort, "none is passing: the degraded and suspect ones are picked as a last resort"
	case count[mesh.Failing] > 0:
		return nil, "none is passing: the gateway answers 503 (toska help TOSKA-UP-NONE)"
	}
	return nil, "none is in rotation: the gateway answers 503 (toska help TOSKA-UP-NONE)"
}

// inRotation reports whether the gateway would pick the instance if its health allowed.
func inRotation(i *mesh.Instance) bool { return !i.Draining && !onlyTLS(i) }

// onlyTLS reports whether the instance wants TLS, which the gateway does not speak to instances.
func onlyTLS(i *mesh.Instance) bool { return strings.EqualFold(i.Metadata["scheme"], "https") }

// whyInstance says in a sentence what the instance's state rests on.
func whyInstance(i *mesh.Instance, picked bool, now time.Time) string {
	var b strings.Builder
	b.WriteString(whyHealth(i, now))
	switch {
	case i.Draining:
		b.WriteString("; it drains: it finishes what it has and gets nothing new")
	case onlyTLS(i):
		b.WriteString("; not picked: its metadata says scheme=https, and the gateway speaks plain HTTP to instances")
	case !picked && i.Health == mesh.Failing:
		b.WriteString("; not picked until it passes again")
	case !picked:
		b.WriteString("; not picked while others are passing")
	}
	return b.String()
}

func lifetimeWord(l mesh.Lifetime) string {
	switch l {
	case mesh.Held:
		return "held"
	case mesh.Leased:
		return "leased"
	case mesh.Permanent:
		return "permanent"
	}
	return "unknown"
}

// lease is how long the instance stays registered without a sign of life; zero for good.
func lease(i *mesh.Instance) time.Duration {
	if i.Lifetime == mesh.Permanent {
		return 0
	}
	return cmp.Or(i.TTL, mesh.LeaseTTL)
}

func leaseText(lifetime string, seconds float64) string {
	ttl := time.Duration(seconds * float64(time.Second))
	switch lifetime {
	case "held":
		return fmt.Sprintf("held by its session; when that is lost, failing after %v and gone %v later", mesh.SessionGrace, ttl)
	case "leased":
		return fmt.Sprintf("leased for %v from each renewal", ttl)
	}
	return "permanent, until it is deregistered"
}

func checkText(c *mesh.Check) string {
	if c == nil {
		return ""
	}
	what := "a TCP connection"
	if c.HTTP != "" {
		what = "GET " + c.HTTP
	}
	if c.TLS {
		what += " over TLS"
	}
	if c.Port != 0 {
		what += fmt.Sprintf(" on port %d", c.Port)
	}
	return fmt.Sprintf("%s every %v, at most %v, failing after %d in a row, passing after %d", what,
		cmp.Or(c.Interval, mesh.CheckInterval), cmp.Or(c.Timeout, mesh.CheckTimeout), cmp.Or(c.Down, mesh.CheckDown), cmp.Or(c.Up, mesh.CheckUp))
}

func (e *Env) printDetail(d serviceDetail, up *mesh.UpstreamStatus, now time.Time) {
	what := count(len(d.Instances), "instance")
	if d.Source == mesh.UpstreamFile {
		what = count(len(d.Endpoints), "endpoint") + " of " + printable(d.Origin)
	}
	say(e.Stdout, "%s: %s, %d picked; %s", printable(d.Name), what, d.Picked, printable(d.Why))
	if d.Source == mesh.UpstreamFile {
		e.printEndpoints(up, now)
	}
	for _, i := range d.Instances {
		health := healthCell(i.Health)
		facts := table{head: []string{"INSTANCE", i.ID}}
		fact := func(name, text string) {
			if text != "" {
				facts.add(cell{text: "  " + name}, cell{text: text})
			}
		}
		fact("address", (&mesh.Instance{Address: i.Address, Port: i.Port}).HostPort())
		facts.add(cell{text: "  health"}, cell{text: i.Why, colour: health.colour})
		if len(i.Evidence) > 1 { // a single one is all of the line above
			for _, e := range i.Evidence {
				fact("  "+e.Source, evidenceText(e, now))
			}
		}
		fact("gateway", i.seen)
		fact("registered", fmt.Sprintf("%s ago by %s, incarnation %d", age(now, i.RegisteredAt), cmp.Or(i.Registrar, "nobody"), i.Incarnation))
		fact("kept", leaseText(i.Lifetime, i.LeaseSeconds))
		fact("node", i.Node)
		fact("check", i.Check)
		fact("probe", probeText(i.Probe, now))
		fact("metadata", metadataText(i.Metadata))
		say(e.Stdout, "")
		facts.print(e.Stdout, e.colours())
	}
	if d.Ejections+d.Retries > 0 {
		say(e.Stdout, "\nSince the gateway knows the service: %s, %s.",
			count(int(d.Ejections), "ejection"), retries(d.Retries))
	}
	if d.Stale {
		say(e.Stdout, "\nThis is what the node last saw: it cannot reach its store now.")
	}
}

func retries(n uint64) string {
	if n == 1 {
		return "1 retry"
	}
	return fmt.Sprintf("%d retries", n)
}

// printEndpoints shows the endpoints of the file, of which only the gateway knows how they are.
func (e *Env) printEndpoints(up *mesh.UpstreamStatus, now time.Time) {
	say(e.Stdout, "")
	t := table{head: []string{"ENDPOINT", "PICKED", "SEEN BY THE GATEWAY"}}
	for n := range up.Endpoints {
		one := &up.Endpoints[n]
		picked := cell{text: "yes", colour: green}
		if !one.Picked {
			picked = cell{text: "no", colour: red}
		}
		t.add(cell{text: one.Address}, picked, cell{text: cmp.Or(seenText(one, now), "nothing wrong")})
	}
	t.print(e.Stdout, e.colours())
}

// completeServices offers the services that are registered now.
func (f *finder) completeServices(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	// Nothing to offer is no error: the shell is in the middle of a line.
	_ = f.with(cmd.Context(), func(ctx context.Context, c Client, _ target) error {
		snap, err := c.Snapshot(ctx)
		if err != nil {
			return err
		}
		for _, key := range slices.Sorted(maps.Keys(snap.Services)) {
			names = append(names, snap.Services[key][0].Service)
		}
		return nil
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}
