package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
)

// The verdicts of the doctor.
const (
	verdictOK   = "ok"
	verdictWarn = "warn"
	verdictFail = "fail"
)

// finding is one thing that the doctor looked at.
type finding struct {
	// Area is what it is about: data, config, disk, secrets, ports, pointers, clock, files, node, service.
	Area    string `json:"area"`
	Verdict string `json:"verdict"`
	Says    string `json:"says"`
	// ToDo is empty where nothing is to be done.
	ToDo string `json:"toDo,omitempty"`
}

// checkup collects what the doctor finds.
type checkup struct {
	env      *Env
	findings []finding
}

func (c *checkup) ok(area, format string, args ...any) {
	c.findings = append(c.findings, finding{Area: area, Verdict: verdictOK, Says: fmt.Sprintf(format, args...)})
}

func (c *checkup) warn(area, toDo, format string, args ...any) {
	c.findings = append(c.findings, finding{Area: area, Verdict: verdictWarn, Says: fmt.Sprintf(format, args...), ToDo: toDo})
}

func (c *checkup) fail(area, toDo, format string, args ...any) {
	c.findings = append(c.findings, finding{Area: area, Verdict: verdictFail, Says: fmt.Sprintf(format, args...), ToDo: toDo})
}

// verdict is the worst of all findings.
func (c *checkup) verdict() string {
	for _, bad := range []string{verdictFail, verdictWarn} {
		if slices.ContainsFunc(c.findings, func(f finding) bool { return f.Verdict == bad }) {
			return bad
		}
	}
	return verdictOK
}

func newDoctor(env *Env) *cobra.Command {
	var data string
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong with this machine and its nodes, and say what to do",
		Long: `Look for what is wrong, with or without a running node: the data directory, its store, its disk and its
secrets, the configuration file, ports and who has them, the files by which nodes are found, the clock,
the limit of open files, and what a running node says of itself and its services.

Each line is ok, warn or fail, and what is to be done follows it. The exit code is 0 unless a line says
fail. Nothing is changed.`,
		Example: `  toska doctor
  toska doctor --data /var/lib/toska
  toska doctor --json | jq '.findings[] | select(.verdict != "ok")'`,
		Args: cobra.NoArgs,
	}
	f := addFinder(c, env, identity.Admin)
	c.Flags().StringVar(&data, "data", "", "data directory to look at (env TOSKA_DATA; default: that of the running node, else "+defaultData()+")")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		up := &checkup{env: env}
		if err := up.examine(cmd.Context(), f, cmp.Or(data, env.Getenv("TOSKA_DATA"))); err != nil {
			return err
		}
		return up.tell(asJSON)
	}
	return c
}

func defaultData() string { return "./" + app.DefaultConfig().DataDir }

// examine looks at the machine and at every node that was named, or that runs.
func (c *checkup) examine(ctx context.Context, f *finder, data string) error {
	patients, err := c.patients(ctx, f)
	if err != nil {
		return err
	}
	c.pointers(ctx)
	dirs := []string{data}
	if data == "" {
		dirs = localDirs(patients)
	}
	for _, dir := range dirs {
		c.data(cmp.Or(dir, defaultData()))
	}
	if len(patients) == 0 {
		c.freePorts(ctx, c.config(cmp.Or(data, defaultData())))
		c.openFiles(0, "a node started here")
	}
	c.clock()
	for _, t := range patients {
		c.node(ctx, t)
	}
	return ctx.Err()
}

// patients returns the node that was named, or all that run.
func (c *checkup) patients(ctx context.Context, f *finder) ([]target, error) {
	addr, err := f.named()
	if err != nil {
		return nil, err
	}
	if addr != "" {
		t, err := f.find(ctx)
		return []target{t}, err
	}
	token, err := f.shown()
	if err != nil {
		return nil, err
	}
	living, err := c.env.Living(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for nodes: %w", err)
	}
	patients := make([]target, len(living))
	for i, p := range living {
		patients[i] = f.target(p, token)
	}
	if len(living) == 0 {
		c.warn("node", `start one with "toska up", or name one with --control HOST:PORT`, "no node of this user runs on this machine")
	}
	return patients, nil
}

// localDirs returns the data directories of the nodes that run here, or the default one for none.
func localDirs(patients []target) []string {
	var dirs []string
	for _, t := range patients {
		if t.dataDir != "" {
			dirs = append(dirs, t.dataDir)
		}
	}
	if len(patients) == 0 {
		dirs = append(dirs, "")
	}
	return dirs
}

func (c *checkup) tell(asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(c.env.Stdout)
		enc.SetIndent("", "  ")
		must(enc.Encode(map[string]any{"verdict": c.verdict(), "findings": c.findings}))
	} else {
		c.print()
	}
	if c.verdict() != verdictFail {
		return nil
	}
	return fail(codeUnwell, "see the lines that say fail", "look this machine over: %w", errUnwell)
}

var errUnwell = errors.New("something does not work")

func (c *checkup) print() {
	colour := map[string]string{verdictOK: green, verdictWarn: yellow, verdictFail: red}
	counts := map[string]int{}
	for _, f := range c.findings {
		counts[f.Verdict]++
		word := fmt.Sprintf("%-4s", f.Verdict)
		if c.env.colours() {
			word = colour[f.Verdict] + word + plain
		}
		say(c.env.Stdout, "%s  %-8s  %s", word, f.Area, printable(f.Says))
		if f.ToDo != "" {
			say(c.env.Stdout, "%s%s", strings.Repeat(" ", 16)+"to do: ", printable(f.ToDo))
		}
	}
	say(c.env.Stdout, "\n%d ok, %d to watch, %d to repair", counts[verdictOK], counts[verdictWarn], counts[verdictFail])
}

// pointers looks at the files by which commands find nodes.
func (c *checkup) pointers(ctx context.Context) {
	found, err := c.env.Machine.Pointers(ctx)
	if err != nil {
		c.warn("pointers", "", "the files by which nodes are found cannot be read: %v", err)
		return
	}
	living := 0
	for _, f := range found {
		switch {
		case f.Problem != nil:
			c.warn("pointers", "remove it, or close it with chmod 600 (700 for a directory); the next start of its node writes it anew",
				"%s is passed over: %v", f.Path, f.Problem)
		case f.Living:
			living++
		default:
			c.warn("pointers", fmt.Sprintf("start it again with \"toska up --data %s\", or remove the file", f.Pointer.DataDir),
				"%s names a node that does not answer: process %d, control %s", f.Path, f.Pointer.PID,
				pointer.Reachable(f.Pointer.Addresses["control"]))
		}
	}
	c.ok("pointers", "%s of this user can be found", count(living, "running node"))
}
