package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/test/node"
)

// demoPage is as many lines of the access log as show what the demo does.
const demoPage = 6

func measureDemo(ctx context.Context, r *report) error {
	n, dir, err := r.up(ctx, "--demo", "--access-log", "-")
	if err != nil {
		return err
	}
	defer n.Kill()
	ready := time.Now()
	if err := until(ctx, 5*time.Second, func() error { return demoListed(ctx, r, dir) }); err != nil {
		return err
	}
	r.atMost("ready to toska services with all of the demo", millis(time.Since(ready)), 2000, "ms", "")
	for _, lines := range []int{1, demoPage} {
		if err := until(ctx, 10*time.Second, func() error { return demoLogged(n, lines) }); err != nil {
			return err
		}
		r.atMost(fmt.Sprintf("ready to %d lines of its traffic in the log", lines), millis(time.Since(ready)), 2000, "ms", "")
	}
	if err := n.Stop(10 * time.Second); err != nil {
		return err
	}
	if failed := demoLines(n) - strings.Count(n.Output(), `"status":200,`); failed > 0 {
		return fmt.Errorf("%d of the demo's requests failed\n%s", failed, tail(n.Output()))
	}
	return nil
}

// demoListed asks toska services for the demo.
func demoListed(ctx context.Context, r *report, dir string) error {
	cmd := exec.CommandContext(ctx, r.bin, "services")
	cmd.Env = append(cmd.Environ(), node.Env(dir)...)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("toska services: %w", err)
	}
	for _, name := range []string{"hello", "slow", "flaky", "orders"} {
		if !strings.Contains(string(out), name+"\tdemo-"+name+"-1\t") {
			return fmt.Errorf("toska services does not list %s:\n%s", name, out)
		}
	}
	return nil
}

// demoLogged reports that the log has fewer lines of the demo's traffic than wanted.
func demoLogged(n *node.Node, want int) error {
	if got := demoLines(n); got < want {
		return fmt.Errorf("%d lines of the demo's traffic, want %d", got, want)
	}
	return nil
}

func demoLines(n *node.Node) int { return strings.Count(n.Output(), `"user_agent":"toska-demo"`) }
