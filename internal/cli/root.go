package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newRoot(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "toska",
		Short: "A service mesh in one binary",
		Long: `Toska is a service mesh in one binary: a gateway, a registry and what they need.

Start a mesh with "toska up", put a program behind its gateway with "toska run".`,
		Example: `  toska up
  toska run --name web --port 9000 -- ./web-server
  toska services`,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetArgs(append([]string{}, env.Args...))
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.AddCommand(newUp(env), newRun(env), newRegister(env), newDeregister(env), newDrain(env),
		newServices(env), newRoutes(env), newStatus(env), newConfig(env), newDoctor(env), newVersion(env), newWatchdog())
	root.SetHelpCommand(newHelp(env))
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(env.Args...)
	if c, _, err := root.Find([]string{"completion"}); err == nil {
		c.Example = `  source <(toska completion bash)
  toska completion zsh > "${fpath[1]}/_toska"
  toska completion fish > ~/.config/fish/completions/toska.fish`
	}
	markUsage(root)
	return root
}

// markUsage tells the errors of the commands, which become failures, from those of the command line
// itself, which are left as cobra makes them.
func markUsage(c *cobra.Command) {
	if run := c.RunE; run != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			err := run(c, args)
			if _, ok := errors.AsType[*childStatus](err); err == nil || ok {
				return err
			}
			return explain(err)
		}
	}
	for _, sub := range c.Commands() {
		markUsage(sub)
	}
}

// usage is a complaint of cobra's about the command line.
func usage(c *cobra.Command, err error) *failure {
	return &failure{code: codeUsage, err: errors.New(strings.TrimSpace(err.Error())), next: fmt.Sprintf("see %q", c.CommandPath()+" --help")}
}
