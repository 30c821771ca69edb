package cli

import (
	"cmp"
	"encoding/json"
	"regexp"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// What tools/release writes into the binary with -ldflags -X; empty otherwise. Nothing assigns them.
var (
	linkedVersion string
	linkedCommit  string
)

// shortCommit is how much of a commit is shown.
const shortCommit = 12

func newVersion(env *Env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit it was built from, and the Go that built it",
		Example: `  toska version
  toska version --json | jq -r .commit`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := thisBuild()
			if asJSON {
				enc := json.NewEncoder(env.Stdout)
				enc.SetIndent("", "  ")
				return enc.Encode(b)
			}
			say(env.Stdout, "toska %s commit %s %s %s/%s", b.Version, b.Commit[:min(len(b.Commit), shortCommit)], b.Go, b.OS, b.Arch)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// build is what this binary was made from.
type build struct {
	Version string `json:"version"`
	// Commit is "unknown" where the source was no checkout.
	Commit string `json:"commit"`
	// Modified is true where the checkout had changes that are in no commit.
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

func thisBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildFrom(info, linkedVersion, linkedCommit)
}

// pseudoVersion is the version that Go gives a commit without a tag; it ends in the commit.
var pseudoVersion = regexp.MustCompile(`[-.]\d{14}-([0-9a-f]{12})(\+dirty)?$`)

// buildFrom prefers what was linked in, then what the Go command recorded of the checkout, then what the
// version of the module tells.
func buildFrom(info *debug.BuildInfo, version, commit string) build {
	b := build{Version: version, Commit: commit, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = cmp.Or(b.Commit, s.Value)
		case "vcs.modified":
			b.Modified = commit == "" && s.Value == "true"
		}
	}
	module := info.Main.Version
	if m := pseudoVersion.FindStringSubmatch(module); m != nil {
		b.Commit = cmp.Or(b.Commit, m[1])
		module = "dev-" + m[1] + m[2]
	}
	if module == "(devel)" {
		module = ""
	}
	b.Version = cmp.Or(b.Version, module, "dev")
	b.Commit = cmp.Or(b.Commit, "unknown")
	return b
}

// version returns the version of this program.
func version() string { return thisBuild().Version }
