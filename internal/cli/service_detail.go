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

// describeService prints all that the registry knows of one service.
func (e *Env) describeService(s *mesh.Snapshot, name string, asJSON bool) error {
	list := s.Services[mesh.ServiceKey(name)]
	if len(list) == 0 {
		return noService(s, name)
	}
	d := detail(list, time.Now())
	d.Revision, d.Stale = s.Revision.String(), s.Stale
	if asJSON {
		enc := json.NewEncoder(e.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(d)
	}
	e.printDetail(d)
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
}

type instanceDetail struct {
	instanceJSON
	// Picked says whether the gateway chooses this one now, Why on what evidence.
	Picked         bool       `json:"picked"`
	Why            string     `json:"why"`
	HealthBy       string     `json:"healthBy,omitempty"`
	HealthAt       *time.Time `json:"healthAt,omitempty"`
	Lifetime       string     `json:"lifetime"`
	LeaseSeconds   float64    `json:"leaseSeconds,omitempty"`
	Check          string     `json:"check,omitempty"`
	RecordRevision string     `json:"recordRevision"`
}

func detail(list []*mesh.Instance, now time.Time) serviceDetail {
	d := serviceDetail{Name: list[0].Service}
	class, why := pickedClass(list)
	d.Why = why
	for _, i := range list {
		picked := inRotation(i) && class != nil && class(i.Health)
		if picked {
			d.Picked++
		}
		one := instanceDetail{instanceJSON: toInstanceJSON(i), Picked: picked, Why: whyInstance(i, picked, now),
			HealthBy: i.HealthBy, Lifetime: lifetimeWord(i.Lifetime), LeaseSeconds: lease(i).Seconds(),
			Check: checkText(i.Check), RecordRevision: i.Revision.String()}
		if !i.HealthAt.IsZero() {
			one.HealthAt = &i.HealthAt
		}
		d.Instances = append(d.Instances, one)
	}
	return d
}

// pickedClass returns which health the gateway picks from among these instances; nil for none. It is the
// registry's view: a gateway that has ejected an instance on its own experience passes it over as well.
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
	fmt.Fprintf(&b, "%s, %s", i.Health, evidence(i, now))
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

func evidence(i *mesh.Instance, now time.Time) string {
	when, words := "", ""
	if !i.HealthAt.IsZero() {
		when = " " + age(now, i.HealthAt) + " ago"
	}
	if i.HealthOutput != "" {
		words = fmt.Sprintf(": %q", i.HealthOutput)
	}
	switch i.HealthBy {
	case "report":
		return "as it, or a probe of it, reported" + when + words
	case "session":
		return "because the connection of its session broke" + when + words
	case "lease":
		return "because its lease was not renewed" + when + words
	case "":
		if when != "" {
			return "since it was heard again" + when + words
		}
		return "as it was registered; nobody has said otherwise" + words
	}
	return "by " + i.HealthBy + when + words
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
	return fmt.Sprintf("%s every %v, at most %v, failing after %d in a row", what,
		cmp.Or(c.Interval, 10*time.Second), cmp.Or(c.Timeout, 2*time.Second), cmp.Or(c.Down, 3))
}

func (e *Env) printDetail(d serviceDetail) {
	now := time.Now()
	say(e.Stdout, "%s: %s, %d picked; %s", printable(d.Name), count(len(d.Instances), "instance"), d.Picked, d.Why)
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
		fact("registered", fmt.Sprintf("%s ago by %s, incarnation %d", age(now, i.RegisteredAt), cmp.Or(i.Registrar, "nobody"), i.Incarnation))
		fact("kept", leaseText(i.Lifetime, i.LeaseSeconds))
		fact("node", i.Node)
		fact("check", i.Check)
		fact("metadata", metadataText(i.Metadata))
		say(e.Stdout, "")
		facts.print(e.Stdout, e.colours())
	}
	if d.Stale {
		say(e.Stdout, "\nThis is what the node last saw: it cannot reach its store now.")
	}
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
