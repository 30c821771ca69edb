// Command bars measures what the project promises, and prints each figure beside its bar.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/test/node"
)

// bar is one thing that is measured. It prints its figures through the report.
type bar struct {
	name string
	what string
	run  func(ctx context.Context, r *report) error
}

func bars() []bar {
	return []bar{
		{"disk", "the disk's own fsync", measureDisk},
		{"start", "start to ready, memory and CPU of an idle node, stop", measureStart},
		{"demo", "toska up --demo: services and traffic to be seen", measureDemo},
		{"register", "registration to routable", measureRegister},
		{"sessions", "1,000 instances that renew", measureSessions},
		{"probes", "1,000 instances that renew and are probed", measureProbes},
		{"crash", "kill -9 of one of three programs under load", measureCrash},
		{"restart", "kill -9 of the node under load", measureRestart},
		{"websocket", "open WebSockets through unrelated registrations", measureWebSockets},
		{"pick", "one of 1,000 endpoints", measurePick},
		{"websocket-routes", "open WebSockets through unrelated changes of mesh.yaml", measureWebSocketRoutes},
		{"reload", "1,000 reloads of mesh.yaml: heap and goroutines", measureReload},
		{"table", "restart under load with a store that is slow to open", measureTable},
		{"hello", "the smallest service of the SDK: size, start to routable, memory, build", measureHello},
		{"toskatest", "a mesh inside of a test", measureToskatest},
		{"sdk-rolling", "rolling restart of three services of the SDK under load", measureSDKRolling},
		{"sdk-crash", "kill -9 of one of three services of the SDK under load", measureSDKCrash},
		{"sdk-away", "kill -9 of the node, for 30 s, while services call each other", measureSDKAway},
		{"failing", "one of three instances answers 503 to everything", measureFailing},
		{"rolling", "rolling restart of three programs under load", measureRolling},
		{"build", "go build with an empty build cache", measureBuild},
		{"streams", "bodies of 1 GB beside slow readers and senders: memory", measureStreams},
		{"gateway", "CPU per request beside nginx", measureGateway},
		{"gateway-log", "CPU per request beside nginx, both with a JSON access log", measureGatewayLog},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) error {
	all := bars()
	if slices.Contains(names, "-h") {
		for _, b := range all {
			fmt.Printf("%-16s %s\n", b.name, b.what)
		}
		fmt.Printf("%-16s %s\n", "-short", "waits less where a bar is mostly waiting")
		return nil
	}
	dir, err := os.MkdirTemp("", "toska-bars-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	r := &report{dir: dir, short: slices.Contains(names, "-short")}
	names = slices.DeleteFunc(names, func(n string) bool { return n == "-short" })
	if r.bin, err = node.Build(ctx, dir); err != nil {
		return err
	}
	if r.service, err = node.BuildPackage(ctx, dir, "github.com/toska-mesh/toska-mesh/test/service"); err != nil {
		return err
	}
	for _, b := range all {
		if len(names) > 0 && !slices.Contains(names, b.name) {
			continue
		}
		fmt.Printf("\n%s: %s\n", b.name, b.what)
		if err := b.run(ctx, r); err != nil {
			r.failed++
			fmt.Printf("  FAILED   %v\n", err)
		}
	}
	fmt.Printf("\n%d within their bar, %d missed or failed\n", r.passed, r.failed)
	if r.failed > 0 {
		return fmt.Errorf("%d bars are missed", r.failed)
	}
	return nil
}

// report prints figures and counts which kept their bar.
type report struct {
	dir     string
	bin     string
	service string
	hello   string // built when it is first needed
	short   bool   // wait less
	passed  int
	failed  int
	nodes   int
}

// atMost prints a figure that must not be above a bar.
func (r *report) atMost(what string, got, bar float64, unit, goal string) {
	r.figure(got <= bar, what, got, bar, unit, goal)
}

// atLeast prints a figure that must not be below a bar.
func (r *report) atLeast(what string, got, bar float64, unit string) {
	r.figure(got >= bar, what, got, bar, unit, "")
}

func (r *report) figure(kept bool, what string, got, bar float64, unit, goal string) {
	verdict := "ok"
	if !kept {
		verdict = "MISSED"
		r.failed++
	} else {
		r.passed++
	}
	if goal != "" {
		goal = ", goal " + goal
	}
	fmt.Printf("  %-8s %-58s %10.2f %-6s bar %g%s\n", verdict, what, got, unit, bar, goal)
}

func (r *report) note(format string, args ...any) {
	fmt.Printf("  %-8s %s\n", "", fmt.Sprintf(format, args...))
}

// up starts a node in a directory of its own.
func (r *report) up(ctx context.Context, args ...string) (*node.Node, string, error) {
	dir, err := r.newDir()
	if err != nil {
		return nil, "", err
	}
	n, err := node.Up(ctx, r.bin, dir, nil, append([]string{"--access-log", "off"}, args...)...)
	return n, dir, err
}

// newDir makes the directory of a node to come.
func (r *report) newDir() (string, error) {
	r.nodes++
	dir := filepath.Join(r.dir, fmt.Sprintf("node%d", r.nodes))
	return dir, os.MkdirAll(dir, 0o700)
}

func median(v []float64) float64 { return percentile(v, 50) }

func percentile(v []float64, p float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return s[min(int(p/100*float64(len(s))), len(s)-1)]
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// tail is the end of a program's output, for a failure's message.
func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(len(lines)-8, 0):], "\n")
}
