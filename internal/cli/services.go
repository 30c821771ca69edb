package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// rewatchPause is how long a watch that broke waits before it looks again.
const rewatchPause = time.Second

func newServices(env *Env) *cobra.Command {
	var watch, asJSON bool
	c := &cobra.Command{
		Use:     "services [NAME]",
		Aliases: []string{"ls"},
		Short:   "List the services and their instances, or tell all of one service",
		Long: `List the services and their instances: id, address, health, and whether an instance drains or the gateway
has ejected it on what it saw of it. Services whose endpoints are those of mesh.yaml are listed too, with
the endpoints and without ids and health: they stand in the place of registered instances of that name.

With a NAME, tell all that is known of that service: where each instance is, since when, why it is
healthy or not and on whose word, what keeps it registered, whether the gateway picks it, and what the
gateway has seen of it.

On a terminal it is a table; otherwise each instance is one line of tab-separated fields, in the order
service, id, address, port, health, and "draining", "ejected", "overridden", "quarantined" or "-". An
endpoint of the file has - for id and health, and "file", "failing", "ejected" or "quarantined". With
--watch a terminal is redrawn at every change of the registry, with the last changes below the table;
otherwise each change is one line: +, - or ~, the same fields, when it was seen, and what changed on whose
word. With --json each state is one JSON document, one to a line with --watch.`,
		Example: `  toska services
  toska services --watch
  toska services web
  toska services --json | jq -r '.services[].name'`,
		Args: cobra.MaximumNArgs(1),
	}
	f := addFinder(c, env, identity.Admin)
	c.Flags().BoolVarP(&watch, "watch", "w", false, "go on and show every change")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.ValidArgsFunction = f.completeServices
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if watch {
			return watchServices(cmd.Context(), env, f, asJSON, args)
		}
		return f.with(cmd.Context(), func(ctx context.Context, c Client, _ target) error {
			snap, err := c.Snapshot(ctx)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return env.describeService(snap, args[0], known{probesOf(ctx, c, args[0]), upstreamsOf(ctx, c, args[0])}, asJSON)
			}
			return env.servicesPrinter(asJSON, false, func() upstreams { return upstreamsOf(ctx, c, "") })(snap)
		})
	}
	return c
}

// watchServices shows every snapshot until ctx ends, of the service that args name or of all. Once it has seen
// one, it outlives a node that restarts, also where it comes back on other ports.
func watchServices(ctx context.Context, env *Env, f *finder, asJSON bool, args []string) error {
	node, err := newFollower(f)
	if err != nil {
		return err
	}
	defer func() { _ = node.Close() }() // nil
	if _, err := node.locate(ctx); err != nil {
		return err
	}
	show := env.servicesPrinter(asJSON, true, func() upstreams { return node.upstreams(ctx) })
	if len(args) == 1 {
		all := show
		show = func(s *mesh.Snapshot) error { return all(onlyService(s, args[0])) }
	}
	return env.followServices(ctx, node.Watch, show)
}

// followServices begins one watch after the other, and tells once of each time without one.
func (e *Env) followServices(ctx context.Context, watch func(context.Context, mesh.Revision) iter.Seq2[*mesh.Snapshot, error], show func(*mesh.Snapshot) error) error {
	var last mesh.Revision
	seen, away := false, false
	for ctx.Err() == nil {
		for snap, err := range watch(ctx, last) {
			if ctx.Err() != nil {
				return nil
			}
			if err != nil && (!seen || !errors.Is(err, mesh.ErrUnavailable)) {
				return err
			}
			if err != nil {
				if !away {
					say(e.Stderr, "toska: %v; trying again", err)
				}
				away = true
				break
			}
			if away {
				say(e.Stderr, "toska: the node answers again")
			}
			seen, away, last = true, false, snap.Revision
			if err := show(snap); err != nil {
				return err
			}
		}
		timer := time.NewTimer(rewatchPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return nil
}

// servicesPrinter returns what shows one snapshot after another. look asks for what the gateway sees at
// that time.
func (e *Env) servicesPrinter(asJSON, watch bool, look func() upstreams) func(*mesh.Snapshot) error {
	switch {
	case asJSON:
		enc := json.NewEncoder(e.Stdout)
		if !watch {
			enc.SetIndent("", "  ")
		}
		return func(s *mesh.Snapshot) error { return enc.Encode(toServicesJSON(s, look())) }
	case isTerminal(e.Stdout) && watch:
		return e.screenPrinter(look)
	case isTerminal(e.Stdout):
		return func(s *mesh.Snapshot) error {
			e.printServices(s, look())
			return nil
		}
	case watch:
		return e.changePrinter()
	default:
		return func(s *mesh.Snapshot) error {
			e.printServiceLines(s, look())
			return nil
		}
	}
}

func (e *Env) printServiceLines(s *mesh.Snapshot, ups upstreams) {
	for _, i := range instances(s) {
		say(e.Stdout, "%s", serviceLine(i, ups.stateOf(i)))
	}
	for _, u := range ups.fromFile() {
		for n := range u.Endpoints {
			host, port, _ := net.SplitHostPort(u.Endpoints[n].Address) // the file holds no other
			say(e.Stdout, "%s\t-\t%s\t%s\t-\t%s", u.Service, host, port, fileState(u, &u.Endpoints[n]))
		}
	}
}

// instanceLine is an instance as the registry has it.
func instanceLine(i *mesh.Instance) string { return serviceLine(i, upstreams(nil).stateOf(i)) }

func serviceLine(i *mesh.Instance, state string) string {
	return fmt.Sprintf("%s\t%s\t%s\t%d\t%s\t%s", i.Service, i.ID, i.Address, i.Port, i.Health, cmp.Or(state, "-"))
}

func (e *Env) printServices(s *mesh.Snapshot, ups upstreams) {
	list, file := instances(s), ups.fromFile()
	if len(list)+len(file) == 0 {
		say(e.Stdout, "no services yet; add one with \"toska run --name web --port 9000 -- PROGRAM\"")
		return
	}
	t := table{head: []string{"SERVICE", "INSTANCE", "ADDRESS", "HEALTH", "", "METADATA"}}
	for _, i := range list {
		t.add(cell{text: i.Service}, cell{text: i.ID}, cell{text: i.HostPort()}, healthCell(i.Health),
			cell{text: ups.stateOf(i), colour: yellow}, cell{text: metadataText(i.Metadata)})
	}
	for _, u := range file {
		for n := range u.Endpoints {
			state := cell{text: fileState(u, &u.Endpoints[n]), colour: yellow}
			if state.text == "file" {
				state.colour = ""
			}
			t.add(cell{text: u.Service}, cell{text: "-"}, cell{text: u.Endpoints[n].Address}, cell{text: "-"}, state, cell{text: u.Origin})
		}
	}
	t.print(e.Stdout, e.colours())
	if s.Stale {
		say(e.Stdout, "\nThis is what the node last saw: it cannot reach its store now.")
	}
}

func metadataText(m map[string]string) string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		pairs = append(pairs, k+"="+strconv.Quote(m[k]))
	}
	return strings.Join(pairs, " ")
}

type servicesJSON struct {
	Revision string        `json:"revision"`
	Stale    bool          `json:"stale"`
	Services []serviceJSON `json:"services"`
}

type serviceJSON struct {
	Name string `json:"name"`
	// Source and Origin say where the gateway's endpoints are from; absent where the node does not say.
	Source    string         `json:"source,omitempty"`
	Origin    string         `json:"origin,omitempty"`
	Instances []instanceJSON `json:"instances"`
	// Endpoints are what the gateway picks from.
	Endpoints []endpointJSON `json:"endpoints,omitempty"`
}

type instanceJSON struct {
	ID           string            `json:"id"`
	Incarnation  uint64            `json:"incarnation"`
	Address      string            `json:"address"`
	Port         int               `json:"port"`
	Health       mesh.Health       `json:"health"`
	HealthOutput string            `json:"healthOutput,omitempty"`
	Draining     bool              `json:"draining"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	Registrar    string            `json:"registrar"`
	Node         string            `json:"node,omitempty"`
	RegisteredAt time.Time         `json:"registeredAt,omitzero"`
}

func toServicesJSON(s *mesh.Snapshot, ups upstreams) servicesJSON {
	out := servicesJSON{Revision: s.Revision.String(), Stale: s.Stale, Services: []serviceJSON{}}
	seen := func(svc serviceJSON, u *mesh.UpstreamStatus) serviceJSON {
		if u != nil {
			svc.Source, svc.Origin, svc.Endpoints = u.Source, u.Origin, toEndpointsJSON(u)
		}
		return svc
	}
	for _, key := range slices.Sorted(maps.Keys(s.Services)) {
		svc := serviceJSON{Name: s.Services[key][0].Service}
		for _, i := range s.Services[key] {
			svc.Instances = append(svc.Instances, toInstanceJSON(i))
		}
		out.Services = append(out.Services, seen(svc, ups[key]))
	}
	for _, u := range ups.fromFile() {
		if len(s.Services[mesh.ServiceKey(u.Service)]) == 0 {
			out.Services = append(out.Services, seen(serviceJSON{Name: u.Service, Instances: []instanceJSON{}}, u))
		}
	}
	return out
}

func toInstanceJSON(i *mesh.Instance) instanceJSON {
	return instanceJSON{
		ID: i.ID, Incarnation: i.Incarnation, Address: i.Address, Port: i.Port, Health: i.Health,
		HealthOutput: i.HealthOutput, Draining: i.Draining, Metadata: i.Metadata,
		Registrar: i.Registrar, Node: i.Node, RegisteredAt: i.RegisteredAt,
	}
}
