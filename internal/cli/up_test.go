package cli_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/cli"
	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
)

func TestUpRunsANodeUntilItsContextEnds(t *testing.T) {
	w, p, stop := up(t, map[string]string{"GATEWAY_PORT": "0", "GATEWAY_ROUTE_PREFIX": "/svc", "RABBITMQ_URL": "amqp://x"},
		"--log-format", "json", "--access-log", "off")
	if _, port, ok := strings.Cut(p.Addresses["gateway"], "[::]:"); !ok || port == "0" {
		t.Errorf("gateway listens on %s, want all addresses for GATEWAY_PORT", p.Addresses["gateway"])
	}
	if code := stop(); code != 0 {
		t.Errorf("exit code = %d", code)
	}
	out := w.stdout.String()
	for _, s := range []string{"toska ready gateway=" + p.Addresses["gateway"], "control=" + p.Addresses["control"], "admin-token-file="} {
		if !strings.Contains(out, s) {
			t.Errorf("output %q does not say %q", out, s)
		}
	}
	if strings.Contains(out, p.AdminToken) {
		t.Error("the admin token was printed where no person reads")
	}
	if errs := w.stderr.String(); !strings.Contains(errs, `"setting":"RABBITMQ_URL"`) {
		t.Errorf("log %q does not name the setting that is not honoured", errs)
	}
}

func TestUpRefusesWhatItCannotDo(t *testing.T) {
	for _, tc := range []struct {
		name string
		env  map[string]string
		args []string
		says string
	}{
		{"a level that is none", nil, []string{"--log-level", "loud"}, "debug, info, warn or error"},
		{"a format that is none", nil, []string{"--log-format", "xml"}, "text or json"},
		{"a role that is none", nil, []string{"--roles", "x"}, "no role x"},
		{"a port that is none", map[string]string{"DISCOVERY_PORT": "x"}, nil, "DISCOVERY_PORT"},
		{"a setting that would close something", map[string]string{"JWT_SECRET_KEY": "x"}, nil, "JWT_SECRET_KEY"},
		{"a limit that would close something", map[string]string{"GATEWAY_RATE_LIMIT_PERMITS": "1"}, nil, "GATEWAY_RATE_LIMIT_PERMITS"},
		{"a demo without a gateway", nil, []string{"--demo", "--roles", "discovery"}, "demo: needs the roles discovery and gateway"},
		{"a prefix that is none", map[string]string{"GATEWAY_ROUTE_PREFIX": "/a/../b"}, nil, "prefix"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld()
			if tc.env != nil {
				w.env = tc.env
			}
			w.env["TOSKA_DATA"] = filepath.Join(t.TempDir(), "data")
			w.expect(t, w.run(t.Context(), append([]string{"up"}, tc.args...)...), 2, tc.says)
		})
	}
}

// up starts a node on free ports. stop ends it and returns its exit code.
func up(t *testing.T, env map[string]string, args ...string) (w *world, p pointer.Pointer, stop func() int) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	ready := filepath.Join(dir, "ready.json")
	w = newWorld()
	w.env = env
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan int, 1)
	argv := []string{"up", "--data", filepath.Join(dir, "data"), "--ready-file", ready, "--listen-control", "127.0.0.1:0", "--listen-discovery", "127.0.0.1:0"}
	if env["GATEWAY_PORT"] == "" {
		argv = append(argv, "--listen-gateway", "127.0.0.1:0")
	}
	go func() { result <- w.run(ctx, append(argv, args...)...) }()
	stop = func() int {
		cancel()
		code := <-result
		result <- code
		return code
	}
	t.Cleanup(func() { stop() })
	await(t, func() bool {
		var err error
		p, err = pointer.ReadFile(ready)
		return err == nil || len(result) > 0
	})
	if len(result) > 0 {
		t.Fatalf("the node ended:\n%s", w.stderr.String())
	}
	return w, p, stop
}

// await polls for what happens outside this process.
func await(t *testing.T, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("waited in vain")
		}
	}
}

func TestTheSameSignalTwiceIsOne(t *testing.T) {
	at := time.Now()
	for _, tc := range []struct {
		name   string
		second os.Signal
		after  time.Duration
		want   int
	}{
		{"an equal one at once is the same", syscall.SIGTERM, time.Millisecond, cli.StopAlready},
		{"an equal one later is impatience", syscall.SIGTERM, 250 * time.Millisecond, cli.StopAtOnce},
		{"another one at once is impatience", os.Interrupt, time.Millisecond, cli.StopAtOnce},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s cli.Stopping
			if got := s.Take(syscall.SIGTERM, at); got != cli.StopInOrder {
				t.Fatalf("the first = %d", got)
			}
			if got := s.Take(tc.second, at.Add(tc.after)); got != tc.want {
				t.Errorf("the second = %d, want %d", got, tc.want)
			}
		})
	}
}
