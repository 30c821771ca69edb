package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func newStatus(env *Env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the state of the node on one screen",
		Example: `  toska status
  toska status --control 10.0.0.5:5010 --token-file admin.token
  toska status --json | jq .ready`,
		Args: cobra.NoArgs,
	}
	f := addFinder(c, env, identity.Admin)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return f.with(cmd.Context(), func(ctx context.Context, c Client, _ target) error {
			st, err := c.Status(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(env.Stdout)
				enc.SetIndent("", "  ")
				return enc.Encode(toStatusJSON(st, upstreamsOf(ctx, c, "")))
			}
			env.printStatus(st, upstreamsOf(ctx, c, ""))
			return nil
		})
	}
	return c
}

// listenerNames returns the names of the listeners in the order in which people care for them.
func listenerNames(addresses map[string]string) []string {
	first := []string{"gateway", "gateway-tls", "control", "discovery"}
	var out []string
	for _, name := range first {
		if addresses[name] != "" {
			out = append(out, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(addresses)) {
		if !slices.Contains(first, name) {
			out = append(out, name)
		}
	}
	return out
}

func (e *Env) printStatus(st mesh.Status, ups upstreams) {
	now := time.Now()
	state := cell{text: "ready", colour: green}
	if !st.Ready {
		state = cell{text: "not ready", colour: red}
	}
	facts := table{head: []string{"NODE", st.NodeID}}
	fact := func(name, format string, args ...any) {
		facts.add(cell{text: name}, cell{text: fmt.Sprintf(format, args...)})
	}
	facts.add(cell{text: "state"}, state)
	fact("version", "%s", st.Version)
	fact("process", "%d, up %v", st.PID, age(now, st.StartedAt))
	fact("data", "%s", st.DataDir)
	if c := st.Config; c.Path != "" {
		fact("config", "%s, %s", c.Path, configState(c))
	}
	for _, name := range listenerNames(st.Addresses) {
		fact(name, "%s", st.Addresses[name])
	}
	r := st.Registry
	fact("registry", "%s, %s, %s, revision %v%s", count(r.Services, "service"), count(r.Instances, "instance"),
		count(r.Sessions, "session"), r.Revision, map[bool]string{true: ", stale: the store cannot be reached"}[r.Stale])
	if t := st.Table; t != nil {
		stale := ""
		if t.Stale {
			stale = ", from disk: the registry has not been heard since the start"
		}
		fact("table", "%s, %s, revision %v, %v old%s", count(t.Routes, "route"), count(t.Endpoints, "endpoint"), t.Revision, age(now, t.BuiltAt), stale)
	}
	if out := ups.ejected(); len(out) > 0 {
		const shown = 3
		var names []string
		for _, o := range out[:min(len(out), shown)] {
			names = append(names, o.Address+" of "+o.Service)
		}
		facts.add(cell{text: "ejected"}, cell{text: fmt.Sprintf("%s on what the gateway saw: %s%s", count(len(out), "endpoint"),
			strings.Join(names, ", "), map[bool]string{true: ", …"}[len(out) > shown]), colour: yellow})
	}
	facts.print(e.Stdout, e.colours())

	roles := table{head: []string{"ROLE", "STATE", "FOR", "RESTARTS", "LAST FAILURE"}}
	for _, role := range st.Roles {
		c := cell{text: role.State, colour: yellow}
		switch role.State {
		case "ready":
			c.colour = green
		case "failed":
			c.colour = red
		}
		roles.add(cell{text: role.Name}, c, cell{text: age(now, role.Since)}, cell{text: fmt.Sprint(role.Restarts)}, cell{text: role.Reason})
	}
	say(e.Stdout, "")
	roles.print(e.Stdout, e.colours())
	for _, a := range st.Alarms[:min(len(st.Alarms), mostAlarms)] {
		say(e.Stdout, "\n%s: %s", printable(a.Code), printable(a.Detail))
	}
	if more := len(st.Alarms) - mostAlarms; more > 0 {
		say(e.Stdout, "\nand %s more: \"toska doctor\" tells of all", count(more, "alarm"))
	}
}

// configState says what is in force of a configuration file.
func configState(c mesh.ConfigStatus) string {
	loaded := "loaded " + c.LoadedAt.Local().Format("2006-01-02 15:04:05")
	switch {
	case c.State == mesh.ConfigNone:
		return "not there; one that is made is taken"
	case c.State == mesh.ConfigLastGood && c.LoadedAt.IsZero():
		return "not taken, see below; nothing was before"
	case c.State == mesh.ConfigLastGood:
		return "not taken as it is now, see below; in force is what was " + loaded
	}
	return loaded
}

// mostAlarms is how many fit the screen with the rest.
const mostAlarms = 5

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// age is how long ago t was, to a precision that one can take in.
func age(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := max(0, now.Sub(t))
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return d.Round(time.Minute).String()[:len(d.Round(time.Minute).String())-2]
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

type statusJSON struct {
	NodeID    string            `json:"nodeId"`
	Version   string            `json:"version"`
	PID       int               `json:"pid"`
	DataDir   string            `json:"dataDir"`
	StartedAt time.Time         `json:"startedAt,omitzero"`
	Addresses map[string]string `json:"addresses"`
	Ready     bool              `json:"ready"`
	Roles     []roleJSON        `json:"roles"`
	Registry  registryJSON      `json:"registry"`
	Table     *tableJSON        `json:"table,omitempty"`
	Config    *configStatusJSON `json:"config,omitempty"`
	Alarms    []alarmJSON       `json:"alarms"`
	// Ejected are the endpoints that the gateway has put out for now.
	Ejected []ejectedJSON `json:"ejected,omitempty"`
}

type configStatusJSON struct {
	Path     string    `json:"path"`
	State    string    `json:"state"`
	LoadedAt time.Time `json:"loadedAt,omitzero"`
}

type roleJSON struct {
	Name     string    `json:"name"`
	State    string    `json:"state"`
	Since    time.Time `json:"since,omitzero"`
	Restarts int       `json:"restarts"`
	Reason   string    `json:"reason,omitempty"`
}

type registryJSON struct {
	Revision  string `json:"revision"`
	Services  int    `json:"services"`
	Instances int    `json:"instances"`
	Sessions  int    `json:"sessions"`
	Stale     bool   `json:"stale"`
}

type tableJSON struct {
	Revision  string    `json:"revision"`
	Routes    int       `json:"routes"`
	Services  int       `json:"services"`
	Endpoints int       `json:"endpoints"`
	BuiltAt   time.Time `json:"builtAt,omitzero"`
	Stale     bool      `json:"stale"`
}

type alarmJSON struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func toStatusJSON(st mesh.Status, ups upstreams) statusJSON {
	out := statusJSON{NodeID: st.NodeID, Version: st.Version, PID: st.PID, DataDir: st.DataDir,
		StartedAt: st.StartedAt, Addresses: st.Addresses, Ready: st.Ready, Roles: []roleJSON{}, Alarms: []alarmJSON{},
		Registry: registryJSON{Revision: st.Registry.Revision.String(), Services: st.Registry.Services,
			Instances: st.Registry.Instances, Sessions: st.Registry.Sessions, Stale: st.Registry.Stale}}
	if st.Config.Path != "" {
		out.Config = new(configStatusJSON(st.Config))
	}
	for _, r := range st.Roles {
		out.Roles = append(out.Roles, roleJSON(r))
	}
	if t := st.Table; t != nil {
		out.Table = &tableJSON{Revision: t.Revision.String(), Routes: t.Routes, Services: t.Services, Endpoints: t.Endpoints, BuiltAt: t.BuiltAt, Stale: t.Stale}
	}
	for _, a := range st.Alarms {
		out.Alarms = append(out.Alarms, alarmJSON(a))
	}
	out.Ejected = ups.ejected()
	return out
}
