package cli

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func newRoutes(env *Env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "routes",
		Short: "List the configured routes, in the order in which they are tried",
		Long: `List the configured routes in the order in which the gateway tries them: of those that fit, a route that
names the host before one that takes every host, then an exact path, then the longest prefix, then one
that names the method, then by name. Behind them are those that are quarantined, each with its reason:
they are not in force.

On a terminal it is a table; otherwise each route is one line of tab-separated fields, in the order name,
hosts, path, methods, service, state, place, reason. Hosts and methods are separated by commas, - is none
or all. The services themselves are found below /api/ without a route.`,
		Example: `  toska routes
  toska routes --json | jq -r '.routes[] | select(.state == "quarantined")'`,
		Args: cobra.NoArgs,
	}
	f := addFinder(c, env, identity.Admin)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return f.with(cmd.Context(), func(ctx context.Context, c Client, _ target) error {
			routes, err := c.Routes(ctx)
			if err != nil {
				return err
			}
			return env.printRoutes(routes, asJSON)
		})
	}
	return c
}

func (e *Env) printRoutes(routes []mesh.RouteStatus, asJSON bool) error {
	switch {
	case asJSON:
		enc := json.NewEncoder(e.Stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(toRoutesJSON(routes))
	case isTerminal(e.Stdout):
		e.printRouteTable(routes)
	default:
		for _, r := range routes {
			fields := []string{r.Name, commas(r.Hosts), r.Path, commas(r.Methods), r.Service, r.State, r.Origin, r.Reason}
			for i, f := range fields {
				if fields[i] = printable(f); f == "" {
					fields[i] = "-"
				}
			}
			say(e.Stdout, "%s", strings.Join(fields, "\t"))
		}
	}
	return nil
}

func commas(words []string) string { return strings.Join(words, ",") }

func (e *Env) printRouteTable(routes []mesh.RouteStatus) {
	if len(routes) == 0 {
		say(e.Stdout, "no routes are configured; services are found below /api/ without one")
		return
	}
	t := table{head: []string{"ROUTE", "HOSTS", "PATH", "METHODS", "SERVICE", "STATE", "PLACE"}}
	for _, r := range routes {
		state := cell{text: r.State, colour: green}
		if r.State != mesh.RouteInForce {
			state.colour = red
		}
		t.add(cell{text: r.Name}, cell{text: orAny(r.Hosts)}, cell{text: r.Path}, cell{text: orAny(r.Methods)},
			cell{text: r.Service}, state, cell{text: r.Origin})
	}
	t.print(e.Stdout, e.colours())
	told := 0
	for _, r := range routes {
		if r.Reason == "" {
			continue
		}
		if told++; told <= mostReasons {
			say(e.Stdout, "\nroute %s is %s: %s", printable(r.Name), printable(r.State), printable(r.Reason))
		}
	}
	if more := told - mostReasons; more > 0 {
		say(e.Stdout, "\nand %s more: \"toska config check FILE\" tells the reason of each", count(more, "quarantined route"))
	}
}

// mostReasons is how many reasons are told below the table.
const mostReasons = 10

// orAny shortens a list so that it fits into a table.
func orAny(words []string) string {
	const shown = 3
	switch n := len(words); {
	case n == 0:
		return "any"
	case n > shown:
		return commas(words[:shown]) + ",…"
	default:
		return commas(words)
	}
}

type routesJSON struct {
	Routes []routeJSON `json:"routes"`
}

type routeJSON struct {
	Name    string   `json:"name"`
	Hosts   []string `json:"hosts"`
	Path    string   `json:"path"`
	Methods []string `json:"methods"`
	Service string   `json:"service"`
	Origin  string   `json:"origin"`
	State   string   `json:"state"`
	Reason  string   `json:"reason,omitempty"`
}

func toRoutesJSON(routes []mesh.RouteStatus) routesJSON {
	out := routesJSON{Routes: []routeJSON{}}
	for _, r := range routes {
		one := routeJSON(r)
		// An empty list is a list.
		one.Hosts, one.Methods = append([]string{}, r.Hosts...), append([]string{}, r.Methods...)
		out.Routes = append(out.Routes, one)
	}
	return out
}
