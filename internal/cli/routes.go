package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func newRoutes(env *Env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "routes",
		Short: "List the routes, in the order in which they are tried",
		Long: `List the routes in the order in which the gateway tries them: first those that name the host, then the
gateway's own paths, then the routes that take every host, and last the prefix, under which services are
found by their names. Of several routes an exact path is taken before a prefix, the longest prefix before
others, one that names the method before one that takes all, then by name. Behind them are those that are
quarantined, each with its reason: they are not in force.

On a terminal it is a table; otherwise each is one line of tab-separated fields, in the order name, hosts,
path, methods, service, state, place, reason, kind. Hosts and methods are separated by commas, - is none or
all. The kind is route, internal for the gateway's own, or prefix; the reason of one in force is what is
odd about it. With --json there are the rewrites, timeouts and retries as well.`,
		Example: `  toska routes
  toska routes --json | jq -r '.routes[] | select(.kind == "route") | .name'
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
			fields := []string{r.Name, commas(r.Hosts), r.Path, commas(r.Methods), r.Service, r.State, r.Origin,
				cmp.Or(r.Reason, r.Warning), r.Kind}
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
	t := table{head: []string{"ROUTE", "HOSTS", "PATH", "METHODS", "SERVICE", "STATE", "PLACE"}}
	for _, r := range foldInternal(routes) {
		state := cell{text: r.State, colour: green}
		if r.State != mesh.RouteInForce {
			state.colour = red
		} else if r.Warning != "" {
			state.colour = yellow
		}
		name := r.Name
		if r.Kind == mesh.RouteInternal || r.Kind == mesh.RoutePrefix {
			name = "(" + r.Kind + ")"
		}
		t.add(cell{text: name}, cell{text: orAny(r.Hosts)}, cell{text: r.Path}, cell{text: orAny(r.Methods)},
			cell{text: r.Service}, state, cell{text: r.Origin})
	}
	t.print(e.Stdout, e.colours())
	if !slices.ContainsFunc(routes, func(r mesh.RouteStatus) bool { return r.Origin != "" }) {
		say(e.Stdout, "\nNo routes are configured: services are found by their names.")
	}
	told := 0
	for _, r := range routes {
		what := "is " + r.State + ": " + r.Reason
		switch {
		case r.Reason == "" && r.Warning == "":
			continue
		case r.Reason == "":
			what = r.Warning
		}
		who := "route " + r.Name
		if r.Kind == mesh.RoutePrefix {
			who = "the prefix"
		}
		if told++; told <= mostReasons {
			say(e.Stdout, "\n%s %s", printable(who), printable(what))
		}
	}
	if more := told - mostReasons; more > 0 {
		say(e.Stdout, "\nand %s more: \"toska config check FILE\" tells the reason of each", count(more, "quarantined route"))
	}
}

// foldInternal makes one row of the gateway's own paths, which are many and always the same.
func foldInternal(routes []mesh.RouteStatus) []mesh.RouteStatus {
	var out []mesh.RouteStatus
	for _, r := range routes {
		if last := len(out) - 1; r.Kind == mesh.RouteInternal && last >= 0 && out[last].Kind == mesh.RouteInternal {
			if !strings.HasSuffix(out[last].Path, "…") {
				out[last].Path += ", …"
			}
			continue
		}
		out = append(out, r)
	}
	return out
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
	Name         string       `json:"name"`
	Kind         string       `json:"kind"`
	Hosts        []string     `json:"hosts"`
	Path         string       `json:"path"`
	Exact        string       `json:"exact,omitempty"`
	Prefix       string       `json:"prefix,omitempty"`
	Methods      []string     `json:"methods"`
	Service      string       `json:"service"`
	Rewrite      *rewriteJSON `json:"rewrite,omitempty"`
	UpstreamHost string       `json:"upstreamHost,omitempty"`
	EncodedSlash bool         `json:"encodedSlash,omitempty"`
	Timeouts     timeoutsJSON `json:"timeouts,omitzero"`
	Retry        retryJSON    `json:"retry,omitzero"`
	Origin       string       `json:"origin"`
	State        string       `json:"state"`
	Reason       string       `json:"reason,omitempty"`
	Warning      string       `json:"warning,omitempty"`
}

type rewriteJSON struct {
	StripPrefix   string `json:"stripPrefix,omitempty"`
	ReplacePrefix string `json:"replacePrefix,omitempty"`
}

// timeoutsJSON are in seconds; 0 is no bound.
type timeoutsJSON struct {
	Connect float64 `json:"connectSeconds"`
	PerTry  float64 `json:"perTrySeconds"`
	Idle    float64 `json:"idleSeconds"`
	Total   float64 `json:"totalSeconds"`
}

type retryJSON struct {
	Attempts   int     `json:"attempts"`
	Budget     float64 `json:"budget"`
	AllMethods bool    `json:"allMethods"`
}

func toRoutesJSON(routes []mesh.RouteStatus) routesJSON {
	out := routesJSON{Routes: []routeJSON{}}
	for _, r := range routes {
		one := routeJSON{
			// An empty list is a list.
			Name: r.Name, Kind: r.Kind, Hosts: append([]string{}, r.Hosts...), Path: r.Path, Exact: r.Exact, Prefix: r.Prefix,
			Methods: append([]string{}, r.Methods...), Service: r.Service, UpstreamHost: r.UpstreamHost, EncodedSlash: r.EncodedSlash,
			Timeouts: timeoutsJSON{r.Timeouts.Connect.Seconds(), r.Timeouts.PerTry.Seconds(), r.Timeouts.Idle.Seconds(), r.Timeouts.Total.Seconds()},
			Retry:    retryJSON(r.Retry), Origin: r.Origin, State: r.State, Reason: r.Reason, Warning: r.Warning,
		}
		if r.StripPrefix+r.ReplacePrefix != "" {
			one.Rewrite = &rewriteJSON{r.StripPrefix, r.ReplacePrefix}
		}
		out.Routes = append(out.Routes, one)
	}
	return out
}
