package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
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
		Long: `List the services and their instances: id, address, health, and whether an instance drains.

With a NAME, tell all that is known of that service: where each instance is, since when, why it is
healthy or not and on whose word, what keeps it registered, and whether the gateway picks it.

On a terminal it is a table; otherwise each instance is one line of tab-separated fields, in the order
service, id, address, port, health, and "draining" or "-". With --watch a terminal is redrawn at every
change; otherwise each change is one line that starts with +, - or ~. With --json each state is one
JSON document, one to a line with --watch.`,
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
		return f.with(cmd.Context(), func(ctx context.Context, c Client, _ target) error {
			show := env.servicesPrinter(asJSON, watch)
			if len(args) == 1 && watch {
				all := show
				show = func(s *mesh.Snapshot) error { return all(onlyService(s, args[0])) }
			} else if len(args) == 1 {
				show = func(s *mesh.Snapshot) error { return env.describeService(s, args[0], asJSON) }
			}
			if watch {
				return watchServices(ctx, env, c, show)
			}
			snap, err := c.Snapshot(ctx)
			if err != nil {
				return err
			}
			return show(snap)
		})
	}
	return c
}

// watchServices shows every snapshot until ctx ends. Once it has seen one, it outlives a node that
// restarts.
func watchServices(ctx context.Context, env *Env, c Client, show func(*mesh.Snapshot) error) error {
	var last mesh.Revision
	seen := false
	for ctx.Err() == nil {
		for snap, err := range c.Watch(ctx, last) {
			if err != nil && (!seen || !errors.Is(err, mesh.ErrUnavailable)) {
				return err
			}
			if err != nil {
				say(env.Stderr, "toska: %v; trying again", err)
				break
			}
			seen, last = true, snap.Revision
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

// servicesPrinter returns what shows one snapshot after another.
func (e *Env) servicesPrinter(asJSON, watch bool) func(*mesh.Snapshot) error {
	switch {
	case asJSON:
		enc := json.NewEncoder(e.Stdout)
		if !watch {
			enc.SetIndent("", "  ")
		}
		return func(s *mesh.Snapshot) error { return enc.Encode(toServicesJSON(s)) }
	case isTerminal(e.Stdout):
		return func(s *mesh.Snapshot) error {
			if watch {
				_, _ = io.WriteString(e.Stdout, clearScreen)
			}
			e.printServices(s)
			return nil
		}
	case watch:
		return e.changePrinter()
	default:
		return func(s *mesh.Snapshot) error {
			for _, i := range instances(s) {
				say(e.Stdout, "%s", instanceLine(i))
			}
			return nil
		}
	}
}

// changePrinter prints what differs from the snapshot before.
func (e *Env) changePrinter() func(*mesh.Snapshot) error {
	before := map[string]string{}
	return func(s *mesh.Snapshot) error {
		now := make(map[string]string)
		for _, i := range instances(s) {
			line := instanceLine(i)
			now[i.ID] = line
			switch old, was := before[i.ID]; {
			case !was:
				say(e.Stdout, "+\t%s", line)
			case old != line:
				say(e.Stdout, "~\t%s", line)
			}
		}
		for _, id := range slices.Sorted(maps.Keys(before)) {
			if _, still := now[id]; !still {
				say(e.Stdout, "-\t%s", before[id])
			}
		}
		before = now
		return nil
	}
}

func instanceLine(i *mesh.Instance) string {
	return fmt.Sprintf("%s\t%s\t%s\t%d\t%s\t%s", i.Service, i.ID, i.Address, i.Port, i.Health, draining(i))
}

func draining(i *mesh.Instance) string {
	if i.Draining {
		return "draining"
	}
	return "-"
}

func (e *Env) printServices(s *mesh.Snapshot) {
	list := instances(s)
	if len(list) == 0 {
		say(e.Stdout, "no services yet; add one with \"toska run --name web --port 9000 -- PROGRAM\"")
		return
	}
	t := table{head: []string{"SERVICE", "INSTANCE", "ADDRESS", "HEALTH", "", "METADATA"}}
	for _, i := range list {
		state := ""
		if i.Draining {
			state = "draining"
		}
		t.add(cell{text: i.Service}, cell{text: i.ID}, cell{text: i.HostPort()}, healthCell(i.Health),
			cell{text: state, colour: yellow}, cell{text: metadataText(i.Metadata)})
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
	Name      string         `json:"name"`
	Instances []instanceJSON `json:"instances"`
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

func toServicesJSON(s *mesh.Snapshot) servicesJSON {
	out := servicesJSON{Revision: s.Revision.String(), Stale: s.Stale, Services: []serviceJSON{}}
	for _, key := range slices.Sorted(maps.Keys(s.Services)) {
		svc := serviceJSON{Name: s.Services[key][0].Service}
		for _, i := range s.Services[key] {
			svc.Instances = append(svc.Instances, toInstanceJSON(i))
		}
		out.Services = append(out.Services, svc)
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
