package cli_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/cli"
)

var update = flag.Bool("update", false, "write the reference pages anew")

// The reference pages are what the command says of itself.
func TestTheReferencePagesAreCurrent(t *testing.T) {
	for path, want := range map[string]string{
		"../../docs/reference/cli.md":        cliPage(t),
		"../../docs/reference/exit-codes.md": exitCodesPage(),
	} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(got), want); diff != "" {
			t.Errorf("%s is out of date; run go test ./internal/cli -run Reference -update (-page +command):\n%s", path, diff)
		}
	}
}

func cliPage(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(`# The toska command

This page is what ` + "`toska COMMAND --help`" + ` prints. Exit codes are in [exit-codes.md](exit-codes.md).

Client commands find the node of the same user by themselves, with its token: through a file that
` + "`toska up`" + ` leaves in ` + "`$XDG_RUNTIME_DIR/toska/nodes`" + `, else in ` + "`$XDG_STATE_HOME/toska/nodes`" + ` or
` + "`~/.local/state/toska/nodes`" + `. Of several living nodes they ask which one on a terminal, and list them
otherwise. ` + "`--control`, `TOSKA_CONTROL`, `--token-file` and `TOSKA_TOKEN`" + ` override.

An error is two lines on standard error: what was tried and what happened, and after ` + "`to do:`" + ` what helps.
`)
	for _, name := range []string{"up", "run", "register", "deregister", "drain", "services", "routes", "status", "config", "config check", "doctor", "help", "version", "completion"} {
		w := newWorld()
		w.expect(t, w.run(t.Context(), append(strings.Fields(name), "--help")...), 0)
		fmt.Fprintf(&b, "\n## toska %s\n\n```text\n%s```\n", name, w.stdout.String())
	}
	return b.String()
}

func exitCodesPage() string {
	var b strings.Builder
	b.WriteString("# Exit codes\n\nThey are stable: scripts may rely on them.\n\n| code | meaning |\n|---|---|\n")
	for _, c := range cli.ExitCodes() {
		fmt.Fprintf(&b, "| %s | %s |\n", c.Code, c.Meaning)
	}
	return b.String()
}
