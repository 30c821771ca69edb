package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// gatewayRatio is the most CPU per request that the gateway may take, in that of nginx.
const gatewayRatio = 1.5

func measureGateway(ctx context.Context, r *report) error { return race(ctx, r, "h1-64-s", "0.9") }

// measureGatewayLog has metrics and trace context on as ever, and lets both write a line of JSON for each
// request. The harness counts the lines.
func measureGatewayLog(ctx context.Context, r *report) error {
	return race(ctx, r, "h1-64-s-log", "1.0")
}

// race runs one scenario of the harness, gateway and nginx in turn.
func race(ctx context.Context, r *report, scenario, goal string) error {
	source := os.Getenv("TOSKA_RACE")
	if _, err := os.Stat(filepath.Join(source, "main.go")); err != nil {
		return fmt.Errorf("the race's harness is not at TOSKA_RACE=%q", source)
	}
	for _, tool := range []string{"nginx", "wrk"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not installed (Debian: apt-get install %s)", tool, tool)
		}
	}
	harness := filepath.Join(r.dir, "race")
	build := exec.CommandContext(ctx, "go", "build", "-o", harness, ".")
	build.Dir = source
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the race's harness: %w\n%s", err, out)
	}
	script, err := filepath.Abs("test/load/gateway.sh")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, harness, "run", "-targets", "nginx", "-scenarios", scenario, "-rounds", "5", "-dur", "3s",
		"-gateway", script+" {http} {https} {dir} {cert} {key} {b1} {b2}")
	cmd.Env = append(os.Environ(), "TOSKA="+r.bin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, tail(string(out)))
	}
	ratio, failed, err := readRatio(string(out))
	if err != nil {
		return fmt.Errorf("%w\n%s", err, tail(string(out)))
	}
	r.atMost(scenario+", CPU per request ÷ nginx, median of five rounds", ratio, gatewayRatio, "", goal)
	r.atMost(scenario+", failed requests", float64(failed), 0, "", "")
	return nil
}

// readRatio finds the gateway's row in the harness's table.
func readRatio(out string) (ratio float64, failed int, err error) {
	for line := range strings.SplitSeq(out, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 12 || strings.TrimSpace(cells[1]) != "toska" {
			continue
		}
		fmt.Println("          " + strings.Join(strings.Fields(line), " "))
		if failed, err = strconv.Atoi(strings.TrimSpace(cells[9])); err != nil {
			return 0, 0, err
		}
		ratio, err = strconv.ParseFloat(strings.TrimSpace(cells[10]), 64)
		return ratio, failed, err
	}
	return 0, 0, fmt.Errorf("the gateway is not in the race's table")
}
