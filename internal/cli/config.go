package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
)

// errMistakes is that a configuration file has mistakes.
var errMistakes = errors.New("there are mistakes")

func newConfig(env *Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Work with configuration files",
		Example: `  toska config check mesh.yaml
  toska config check --json mesh.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(newConfigCheck(env))
	return c
}

func newConfigCheck(env *Env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "check FILE...",
		Short: "Tell every mistake in configuration files",
		Long: `Tell every mistake in configuration files, without a node: one line each, as
FILE:LINE:COLUMN: PATH: what is wrong (did you mean "this"?), and for each file a line that says what a
node would make of it.

A mistake inside a route or a service takes that one alone out of force. With any other mistake a node
does not take the file. The exit code is 10 in both cases, and 0 if there is no mistake in any file. A
warning is no mistake: it tells of a route that takes more than it may have been meant to.`,
		Example: `  toska config check mesh.yaml
  toska config check --json mesh.yaml | jq -r '.files[].problems[].reason'`,
		Args: cobra.MinimumNArgs(1),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.RunE = func(_ *cobra.Command, args []string) error { return env.checkConfig(args, asJSON) }
	return c
}

// checkConfig checks all files before it fails.
func (e *Env) checkConfig(names []string, asJSON bool) error {
	var unreadable error
	wrong := 0
	out := configJSON{Files: []configFileJSON{}}
	for _, name := range names {
		data, err := app.ReadConfigFile(name)
		if err != nil {
			unreadable = errors.Join(unreadable, err)
			continue
		}
		f, problems := routefile.Parse(name, data)
		if len(problems) > 0 {
			wrong++
		}
		if asJSON {
			out.Files = append(out.Files, toConfigJSON(name, f, problems))
			continue
		}
		for _, p := range problems {
			say(e.Stdout, "%s", printable(p.String()))
		}
		for _, w := range warnings(f) {
			say(e.Stdout, "%s", printable(w.Origin.String()+": warning: route "+w.Name+" "+w.Text))
		}
		say(e.Stdout, "%s", printable(name+": "+verdictOn(f, problems)))
	}
	if asJSON {
		enc := json.NewEncoder(e.Stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(out); err != nil {
			return fmt.Errorf("print the mistakes: %w", err)
		}
	}
	switch {
	case errors.Is(unreadable, fs.ErrNotExist):
		return fail(codeNotFound, "name a file that is there", "%w", unreadable)
	case unreadable != nil:
		return fail(codeConfig, "name a plain file that can be read", "%w", unreadable)
	case wrong > 0:
		return fail(codeConfig, "correct what is told above and check again; docs/reference/mesh-yaml.md has every key",
			"check the configuration: %w in %d of %s", errMistakes, wrong, count(len(names), "file"))
	}
	return nil
}

// warnings are what is odd about a file and no mistake, as a node with the usual prefix would see it.
func warnings(f *routefile.File) []route.Warning {
	if f == nil {
		return nil
	}
	return f.Set.Warnings(route.DefaultPrefix)
}

// verdictOn says what a node would make of a file.
func verdictOn(f *routefile.File, problems routefile.Problems) string {
	if f == nil {
		return count(len(problems), "mistake") + "; a node does not take this file"
	}
	in := count(len(f.Set.Services), "service") + ", " + count(len(f.Set.Routes), "route")
	if len(problems) == 0 {
		return "ok: " + in
	}
	var out []string
	for _, q := range f.Set.Quarantined {
		const shown = 5
		if len(out) == shown {
			out = append(out, fmt.Sprintf("and %d more", len(f.Set.Quarantined)-shown))
			break
		}
		out = append(out, q.Kind+" "+q.Name)
	}
	return count(len(problems), "mistake") + "; out of force: " + strings.Join(out, ", ") + "; in force: " + in
}

type configJSON struct {
	Files []configFileJSON `json:"files"`
}

type configFileJSON struct {
	File string `json:"file"`
	// OK files have no mistake; Taken ones have none that keeps a node from taking them.
	OK          bool          `json:"ok"`
	Taken       bool          `json:"taken"`
	Services    int           `json:"services"`
	Routes      int           `json:"routes"`
	Quarantined int           `json:"quarantined"`
	Problems    []problemJSON `json:"problems"`
	// Warnings are no mistakes: the file is OK with them.
	Warnings []problemJSON `json:"warnings,omitempty"`
}

type problemJSON struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path,omitempty"`
	Reason  string `json:"reason"`
	Nearest string `json:"nearest,omitempty"`
	// Kind and Name are of the object that is out of force by it.
	Kind  string `json:"kind,omitempty"`
	Name  string `json:"name,omitempty"`
	Fatal bool   `json:"fatal"`
}

func toConfigJSON(name string, f *routefile.File, problems routefile.Problems) configFileJSON {
	out := configFileJSON{File: name, OK: len(problems) == 0, Taken: f != nil, Problems: []problemJSON{}}
	if f != nil {
		out.Services, out.Routes, out.Quarantined = len(f.Set.Services), len(f.Set.Routes), len(f.Set.Quarantined)
	}
	for _, p := range problems {
		out.Problems = append(out.Problems, problemJSON{File: p.Origin.File, Line: p.Origin.Line, Column: p.Origin.Column,
			Path: p.Path, Reason: p.Reason, Nearest: p.Nearest, Kind: p.Kind, Name: p.Name, Fatal: p.Fatal})
	}
	for _, w := range warnings(f) {
		out.Warnings = append(out.Warnings, problemJSON{File: w.Origin.File, Line: w.Origin.Line, Column: w.Origin.Column,
			Reason: w.Text, Kind: route.KindRoute, Name: w.Name})
	}
	return out
}
