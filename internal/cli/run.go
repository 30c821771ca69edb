package cli

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/toska-mesh/toska-mesh/internal/cli/child"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// watchdogName is the hidden command by which toska run watches its program.
const watchdogName = "run-watchdog"

// childStatus is the exit status of the program, which becomes that of toska run.
type childStatus struct{ code int }

// Error implements error.
func (s *childStatus) Error() string { return fmt.Sprintf("the program ended with status %d", s.code) }

type runFlags struct {
	registration mesh.Registration
	metadata     []string
	check        string
	startTimeout time.Duration
	drain        time.Duration
}

func newRun(env *Env) *cobra.Command {
	var r runFlags
	c := &cobra.Command{
		Use:   "run --name NAME --port PORT [flags] -- PROGRAM [ARGUMENT...]",
		Short: "Run a program and join it to the mesh",

		DisableFlagsInUseLine: true,

		Long: `Run a program, register it once its port answers, and keep it registered while it runs.

The program finds PORT, TOSKA_GATEWAY (a URL) and TOSKA_CONTROL (HOST:PORT) in its environment. On
SIGINT or SIGTERM it is taken out of rotation first and gets the signal then; HUP, QUIT, USR1 and USR2
are handed on. When it ends, toska run deregisters it and exits with its status. The program and what it
has started end with toska run, however that ends.

If no node runs yet, the program starts all the same and joins as soon as there is one. If somebody
deregisters the instance, the program goes on without the mesh.`,
		Example: `  toska run --name web --port 9000 -- python3 -m http.server 9000
  toska run --name orders --port 0 --check /healthz -- ./orders   # listens on $PORT
  toska run --name orders --port 8081 --metadata weight=3 --drain 5s -- java -jar orders.jar`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("no program is given; write it behind --, as in \"-- ./web-server\"")
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	f := addFinder(c, env, identity.Service)
	flags := c.Flags()
	flags.SetInterspersed(false) // the program's own flags are its own
	flags.StringVar(&r.registration.Service, "name", "", "name of the service (a DNS label)")
	flags.IntVar(&r.registration.Port, "port", 0, "port that the program listens on; 0 picks a free one and hands it down as PORT")
	flags.StringVar(&r.registration.Address, "address", "", "host name or IP address that the gateway can dial (default: this machine)")
	flags.StringVar(&r.registration.ID, "id", "", "id of the instance (default: one is made)")
	flags.StringArrayVar(&r.metadata, "metadata", nil, "KEY=VALUE, may be repeated; weight and lb_strategy steer the gateway")
	flags.StringVar(&r.check, "check", "", "path that answers 2xx, or redirects to one that does on the same host, once the program is ready, and while it is healthy (default: a TCP connection)")
	flags.DurationVar(&r.startTimeout, "start-timeout", time.Minute, "how long the program may take until its port answers")
	flags.DurationVar(&r.drain, "drain", 200*time.Millisecond, "how long to leave it out of rotation before it gets the signal to stop")
	must(c.MarkFlagRequired("name"))
	must(c.MarkFlagRequired("port"))
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := r.complete(); err != nil {
			return err
		}
		runner, err := newRunner(env, f, r, args)
		if err != nil {
			return err
		}
		return runner.run(cmd.Context())
	}
	return c
}

// complete turns the flags into a registration and refuses what the mesh would refuse later.
func (r *runFlags) complete() (err error) {
	if r.registration.Metadata, err = parseMetadata(r.metadata); err != nil {
		return err
	}
	if r.check != "" && !strings.HasPrefix(r.check, "/") {
		return fail(codeUsage, "--check wants a path such as /healthz", "--check %q is no path", r.check)
	}
	if r.startTimeout <= 0 || r.drain < 0 {
		return fail(codeUsage, "", "--start-timeout must be above zero and --drain not below")
	}
	if r.check != "" {
		r.registration.Check = &mesh.Check{HTTP: r.check}
	}
	trial := r.registration
	if trial.Port == 0 {
		trial.Port = 1 // one is picked later
	}
	return registry.Validate(trial, registry.LabelNames)
}

// newWatchdog is not for people: it ends the process group of a toska run that was killed.
func newWatchdog() *cobra.Command {
	return &cobra.Command{
		Use:    watchdogName,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return child.Watch(os.Stdin, os.Stdout)
		},
	}
}

// watchdogArgv is the command line of the watchdog: this very binary, even if its file was replaced.
func watchdogArgv() ([]string, error) {
	if runtime.GOOS == "linux" {
		return []string{"/proc/self/exe", watchdogName}, nil
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return []string{exe, watchdogName}, nil
}
