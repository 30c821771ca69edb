package cli_test

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/toska-mesh/toska-mesh/internal/cli"
	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
)

var demoRequest = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d 200 (GET |POST) /svc/(hello|flaky|orders|slow)/`)

func TestUpWithADemoTellsATerminalWhatThereIsToSee(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	w := newWorld()
	w.env["TERM"], w.env["GATEWAY_ROUTE_PREFIX"] = "dumb", "/svc"
	ctx, cancel := context.WithCancel(t.Context())
	tty := openTerminal(t)
	result := make(chan int, 1)
	go func() {
		result <- cli.Main(ctx, w.terminal(tty, "up", "--demo", "--data", filepath.Join(dir, "data"), "--ready-file", filepath.Join(dir, "ready"),
			"--log-level", "error", "--listen-gateway", "127.0.0.1:0", "--listen-control", "127.0.0.1:0", "--listen-discovery", "127.0.0.1:0"))
	}()
	said := func() string { return strings.ReplaceAll(tty.said.String(), "\r\n", "\n") }
	await(t, func() bool { return len(demoRequest.FindAllString(said(), -1)) >= 3 || len(result) > 0 })
	cancel()
	if code := <-result; code != 0 {
		t.Errorf("exit code = %d", code)
	}
	out := said()
	p := strings.Index(out, "Ctrl-C")
	if first := demoRequest.FindStringIndex(out); p < 0 || first == nil || first[0] < p {
		t.Errorf("requests are not shown after the banner:\n%s", out)
	}
	for _, s := range []string{"The demo runs", " services flaky\n", "/svc/hello/you\n", "/metrics\n", " run --name web"} {
		if !strings.Contains(out, s) {
			t.Errorf("the banner does not say %q:\n%s", s, out)
		}
	}
	for line := range strings.SplitSeq(out, "\n") {
		if utf8.RuneCountInString(line) > 80 && !strings.Contains(line, dir) {
			t.Errorf("longer than a terminal is wide: %q", line)
		}
	}
	if _, err := pointer.ReadFile(filepath.Join(dir, "ready")); err == nil {
		t.Error("the node still runs")
	}
}
