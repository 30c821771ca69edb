package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
	"github.com/toska-mesh/toska-mesh/mesh"
)

type upFlags struct {
	data, roles                 string
	gateway, control, discovery string
	gatewayTLS                  string
	logLevel, logFormat         string
	readyFile, accessLog        string
	config                      string
	demo                        bool
}

func newUp(env *Env) *cobra.Command {
	var f upFlags
	def := app.DefaultConfig()
	c := &cobra.Command{
		Use:   "up",
		Short: "Start a node: a whole mesh in this process",
		Long: `Start a node with its gateway and registry, and run it until it is interrupted.

Everything listens on loopback until told otherwise, and everything is kept in the data directory. When
the node is ready it prints its addresses: a banner on a terminal, one line of key=value otherwise. The
first SIGINT or SIGTERM stops it in order, a second one at once.

With --demo there is something to see at once: the services hello, slow, flaky and orders run in this
process, register as any program does, and are asked about four times a second. Their instances are
deregistered when the node stops, and their ids begin with "demo-".

Environment: TOSKA_DATA is the data directory. GATEWAY_PORT and DISCOVERY_PORT are ports on all
addresses, and GATEWAY_HTTPS_PORT is one where mesh.yaml has certificates for it. GATEWAY_ROUTE_PREFIX
is the path below which services are found (/api/). Flags win.`,
		Example: `  toska up
  toska up --demo
  toska up --data /var/lib/toska --listen-gateway :80 --log-format json
  toska up --listen-gateway 127.0.0.1:0 --listen-control 127.0.0.1:0 --listen-discovery 127.0.0.1:0 --ready-file ready.json`,
		Args: cobra.NoArgs,
	}
	flags := c.Flags()
	flags.StringVar(&f.data, "data", "./"+def.DataDir, "data directory, made if it is not there (env TOSKA_DATA)")
	flags.StringVar(&f.roles, "roles", strings.Join(def.Roles, ","), "roles to run, separated by commas: all, discovery, gateway, health")
	flags.StringVar(&f.gateway, "listen-gateway", def.ListenGateway, "address of the gateway, HOST:PORT; port 0 takes a free one")
	flags.StringVar(&f.gatewayTLS, "listen-gateway-tls", def.ListenGatewayTLS, "address of the gateway with TLS, HOST:PORT, where the configuration file has certificates for it")
	flags.StringVar(&f.control, "listen-control", def.ListenControl, "address of the control API, HOST:PORT")
	flags.StringVar(&f.discovery, "listen-discovery", def.ListenDiscovery, "address of the discovery gRPC, HOST:PORT")
	flags.StringVar(&f.logLevel, "log-level", "info", "least level that is logged: debug, info, warn, error")
	flags.StringVar(&f.logFormat, "log-format", "text", "how logs are written to standard error: text, json")
	flags.StringVar(&f.readyFile, "ready-file", "", "file to write once the node is ready: its addresses and tokens as JSON, for its owner alone")
	flags.StringVar(&f.config, "config", "", "configuration file, read anew when it changes and on SIGHUP (default: mesh.yaml beside the data directory, once it is there)")
	flags.BoolVar(&f.demo, "demo", false, "run a few small services in this process too, with a trickle of requests to them")
	flags.StringVar(&f.accessLog, "access-log", def.AccessLog, "where the gateway logs each request as JSON: - for standard output (a terminal gets short lines), off, or a file")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := env.upConfig(cmd, f)
		if err != nil {
			return err
		}
		return env.up(cmd.Context(), cfg)
	}
	return c
}

// upConfig merges flags, environment and defaults, in this order.
func (e *Env) upConfig(cmd *cobra.Command, f upFlags) (app.Config, error) {
	cfg := app.DefaultConfig()
	log, err := e.logger(f.logLevel, f.logFormat)
	if err != nil {
		return cfg, err
	}
	cfg.DataDir, cfg.Roles = f.data, app.ParseRoles(f.roles)
	cfg.ListenGateway, cfg.ListenControl, cfg.ListenDiscovery = f.gateway, f.control, f.discovery
	cfg.ListenGatewayTLS = f.gatewayTLS
	cfg.ReadyFile, cfg.AccessLog = f.readyFile, f.accessLog
	cfg.Version, cfg.Log, cfg.Stdout = version(), log, e.Stdout
	cfg.Getenv, cfg.Demo = e.Getenv, f.demo
	if isTerminal(e.Stdout) {
		cfg.Stdout = &requestLines{w: e.Stdout, colours: e.colours()}
	}
	given, err := e.fromEnvironment(&cfg, cmd.Flags().Changed)
	if err != nil {
		return cfg, err
	}
	if err := e.fromFile(&cfg, f.config, given); err != nil {
		return cfg, err
	}
	if !cmd.Flags().Changed("listen-gateway-tls") {
		cfg.WithoutIdleTLS()
	}
	return cfg, nil
}

// fromFile takes over what the configuration file says and neither a flag nor the environment does. Where none
// is named, the one beside the data directory is followed, also while it is not there.
func (e *Env) fromFile(cfg *app.Config, path string, given func(flag string) bool) error {
	if path == "" {
		if path = app.FindConfig(cfg.DataDir); path == "" {
			cfg.WatchFile(app.ConfigBeside(cfg.DataDir), given)
			return nil
		}
	}
	return badConfig(path, cfg.UseFile(path, given))
}

// badConfig is the failure of a configuration file; nil for nil.
func badConfig(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, mesh.ErrNotFound):
		return fail(codeNotFound, "name a file that is there", "%w", err)
	}
	return fail(codeConfig, "correct what is told above, look with \"toska config check "+path+
		"\", and start again; docs/reference/mesh-yaml.md has every key", "%w", err)
}

// fromEnvironment takes over what the environment says and no flag does, and tells of what it says in
// vain. It returns which flags were given, by themselves or by the environment.
func (e *Env) fromEnvironment(cfg *app.Config, changed func(flag string) bool) (given func(flag string) bool, err error) {
	env, notices, err := app.FromEnvironment(func(name string) (string, bool) {
		v := e.Getenv(name)
		return v, v != ""
	})
	if err != nil {
		return nil, local(err)
	}
	for _, n := range notices {
		cfg.Log.Warn("setting of the environment is not honoured", "setting", n.Name, "why", n.Why)
	}
	said := map[string]bool{}
	take := func(flag, value string, to *string) {
		if value != "" && !changed(flag) {
			*to, said[flag] = value, true
		}
	}
	take("data", env.DataDir, &cfg.DataDir)
	take("listen-gateway", env.ListenGateway, &cfg.ListenGateway)
	take("listen-gateway-tls", env.ListenGatewayTLS, &cfg.ListenGatewayTLS)
	take("listen-discovery", env.ListenDiscovery, &cfg.ListenDiscovery)
	take("", env.RoutePrefix, &cfg.RoutePrefix)
	cfg.Attempts, cfg.Probes = env.Attempts, env.Probes
	return func(flag string) bool { return said[flag] || changed(flag) }, nil
}

// logger returns what logs to standard error.
func (e *Env) logger(level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fail(codeUsage, "--log-level wants debug, info, warn or error", "--log-level %q is no level", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(e.Stderr, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(e.Stderr, opts)), nil
	}
	return nil, fail(codeUsage, "--log-format wants text or json", "--log-format %q is no format", format)
}

func (e *Env) up(ctx context.Context, cfg app.Config) error {
	fresh := !exists(filepath.Join(cfg.DataDir, "secrets", "admin.token"))
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	cfg.Reload = reload
	node, err := app.New(cfg)
	if err != nil {
		return local(err)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		// The event loops keep the processors that there are for as long as they are busy: one more is for
		// everything else, or the control plane would wait for the clients' requests.
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	// Whoever read our output may leave: writing to nobody is an error then, and not our end.
	signal.Ignore(syscall.SIGPIPE)
	ctx, release := e.untilSignal(ctx, cfg.Log, func() { _ = node.Withdraw() }) // there is no time to tell
	defer release()
	return local(node.Run(ctx, func(p app.Ready) {
		if isTerminal(e.Stdout) {
			e.banner(p, fresh, &cfg)
		} else {
			say(e.Stdout, "%s", readyLine(p))
		}
	}))
}

// sameSignal is within what time an equal signal is the same one: who stops a process and its group sends it
// twice.
const sameSignal = 250 * time.Millisecond

// untilSignal returns a context that ends with the first signal to stop. A second one ends the process, after
// atOnce. The caller calls release.
func (e *Env) untilSignal(ctx context.Context, log *slog.Logger, atOnce func()) (_ context.Context, release func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		var stop stopping
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				switch stop.take(s, time.Now()) {
				case stopInOrder:
					log.Info("stopping; a second signal stops at once", "signal", s.String())
					cancel()
				case stopAtOnce:
					atOnce()
					e.Exit(signalStatus(s))
				case stopAlready:
				}
			}
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		wg.Wait()
		cancel()
	}
}

// What a signal to stop means.
const (
	stopInOrder = iota
	stopAlready
	stopAtOnce
)

// stopping is what came so far.
type stopping struct {
	first os.Signal
	at    time.Time
}

// take says what a signal means.
func (s *stopping) take(sig os.Signal, now time.Time) int {
	switch {
	case s.first == nil:
		s.first, s.at = sig, now
		return stopInOrder
	case sig == s.first && now.Sub(s.at) < sameSignal:
		return stopAlready
	}
	return stopAtOnce
}

func signalStatus(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return codeFailure
}

// banner greets a person.
func (e *Env) banner(p app.Ready, fresh bool, cfg *app.Config) {
	me := commandName()
	title := "toska " + p.Version + " is ready"
	if e.colours() {
		title = bold + title + plain
	}
	say(e.Stdout, "\n%s\n", title)
	for _, name := range listenerNames(p.Addresses) {
		scheme := "http"
		if p.TLS[name] != "" {
			scheme = "https"
		}
		say(e.Stdout, "  %-11s %s://%s", name, scheme, pointer.Reachable(p.Addresses[name]))
	}
	say(e.Stdout, "  %-11s %s", "data", p.DataDir)
	say(e.Stdout, "  %-11s %s%s", "config", cfg.ConfigFile, map[bool]string{true: " (not there yet; one that is made is taken)"}[cfg.File == nil])
	if fresh {
		say(e.Stdout, "  %-11s %s", "admin", p.AdminToken)
		say(e.Stdout, "  %-11s (shown this once)", "")
	} else {
		say(e.Stdout, "  %-11s %s", "admin", adminTokenPath(p))
	}
	gateway := p.Addresses["gateway"]
	if gateway != "" {
		gateway = "http://" + pointer.Reachable(gateway)
	}
	services := gateway + withSlashes(cfg.RoutePrefix)
	if cfg.Demo {
		e.demoBanner(me, gateway, services)
		say(e.Stdout, "\nPut a program of your own beside them:\n")
	} else {
		say(e.Stdout, "\nPut a program behind the gateway, from another terminal:\n")
	}
	say(e.Stdout, "  %s run --name web --port 9000 -- python3 -m http.server 9000", me)
	if gateway != "" {
		say(e.Stdout, "  curl %sweb/", services)
	}
	say(e.Stdout, "\nCtrl-C stops the node.\n")
}

// demoBanner says what there is to see, and where.
func (e *Env) demoBanner(me, gateway, services string) {
	say(e.Stdout, "\nThe demo runs: four made-up services, asked about four times a second.")
	say(e.Stdout, "\"2 attempts\" in the access log: one instance failed, another made up for it.")
	say(e.Stdout, "From another terminal:\n")
	say(e.Stdout, "  %s services", me)
	say(e.Stdout, "  %s services flaky", me)
	say(e.Stdout, "  curl %shello/you", services)
	say(e.Stdout, "  curl %sslow/", services)
	say(e.Stdout, "  curl %s/metrics", gateway)
}

func withSlashes(prefix string) string {
	if p := strings.Trim(prefix, "/"); p != "" {
		return "/" + p + "/"
	}
	return "/"
}

// readyLine greets a program: one line of key=value, values quoted where they hold a space.
func readyLine(p app.Ready) string {
	var b strings.Builder
	b.WriteString("toska ready")
	put := func(key, value string) {
		if strings.ContainsAny(value, " \"\t\n") {
			value = strconv.Quote(value)
		}
		fmt.Fprintf(&b, " %s=%s", key, value)
	}
	for _, name := range listenerNames(p.Addresses) {
		put(name, p.Addresses[name])
	}
	put("pid", strconv.Itoa(p.PID))
	put("version", p.Version)
	put("data", p.DataDir)
	put("admin-token-file", adminTokenPath(p))
	return b.String()
}

func adminTokenPath(p app.Ready) string { return filepath.Join(p.DataDir, "secrets", "admin.token") }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// commandName is what to type to run this program again.
func commandName() string {
	if exe, err := os.Executable(); err == nil && strings.Contains(exe, "go-build") {
		return "go run ./cmd/toska"
	}
	return "toska"
}
