package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// scenario is one of the harness, with the most CPU per request that the gateway may take, in that of nginx.
type scenario struct {
	name string
	most float64
	goal string
}

func measureGateway(ctx context.Context, r *report) error {
	return race(ctx, r, []scenario{{"h1-64-s", 1.25, "0.9"}, {"h1-512-s", 1.25, "0.9"}, {"tls-64-s", 1.2, "0.9"}, {"tls-close", 1.0, "0.75"}})
}

// measureGatewayLog has metrics and trace context on as ever, and lets both write a line of JSON for each
// request. The harness counts the lines.
func measureGatewayLog(ctx context.Context, r *report) error {
	return race(ctx, r, []scenario{{"h1-64-s-log", 1.35, "1.0"}})
}

// result is what the harness says of the gateway in one scenario.
type result struct {
	ratio  float64
	failed int
}

// race runs scenarios of the harness, gateway and nginx in turn. One that is missed is run once more: the
// machine has other tenants.
func race(ctx context.Context, r *report, scenarios []scenario) error {
	harness, err := buildHarness(ctx, r)
	if err != nil {
		return err
	}
	got, err := runRace(ctx, r, harness, scenarios)
	if err != nil {
		return err
	}
	var again []scenario
	for _, s := range scenarios {
		if got[s.name].ratio > s.most {
			again = append(again, s)
		}
	}
	if len(again) > 0 {
		second, err := runRace(ctx, r, harness, again)
		if err != nil {
			return err
		}
		maps.Copy(got, second)
	}
	for _, s := range scenarios {
		what := s.name
		if slices.Contains(again, s) {
			what += " (second run)"
		}
		r.atMost(what+", CPU per request ÷ nginx, median of five rounds", got[s.name].ratio, s.most, "", s.goal)
		r.atMost(what+", failed requests", float64(got[s.name].failed), 0, "", "")
	}
	return nil
}

func buildHarness(ctx context.Context, r *report) (string, error) {
	source := os.Getenv("TOSKA_RACE")
	if _, err := os.Stat(filepath.Join(source, "main.go")); err != nil {
		return "", fmt.Errorf("the race's harness is not at TOSKA_RACE=%q", source)
	}
	for _, tool := range []string{"nginx", "wrk"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("%s is not installed (Debian: apt-get install %s)", tool, tool)
		}
	}
	harness := filepath.Join(r.dir, "race")
	build := exec.CommandContext(ctx, "go", "build", "-o", harness, ".")
	build.Dir = source
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the race's harness: %w\n%s", err, out)
	}
	return harness, nil
}

func runRace(ctx context.Context, r *report, harness string, scenarios []scenario) (map[string]result, error) {
	script, err := filepath.Abs("test/load/gateway.sh")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	cmd := exec.CommandContext(ctx, harness, "run", "-targets", "nginx", "-scenarios", strings.Join(names, ","), "-rounds", "5", "-dur", "3s",
		"-gateway", script+" {http} {https} {dir} {cert} {key} {b1} {b2}")
	cmd.Env = append(os.Environ(), "TOSKA="+r.bin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, tail(string(out)))
	}
	got, err := readRace(string(out))
	if err == nil && len(got) < len(scenarios) {
		err = fmt.Errorf("the gateway is in %d of the race's %d tables", len(got), len(scenarios))
	}
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, tail(string(out)))
	}
	return got, nil
}

// readRace finds the gateway's rows in the harness's tables.
func readRace(out string) (map[string]result, error) {
	got := map[string]result{}
	scenario := ""
	for line := range strings.SplitSeq(out, "\n") {
		if name, ok := strings.CutPrefix(line, "### "); ok {
			scenario = strings.TrimSpace(name)
		}
		cells := strings.Split(line, "|")
		if len(cells) < 12 || strings.TrimSpace(cells[1]) != "toska" {
			continue
		}
		fmt.Println("          " + scenario + " " + strings.Join(strings.Fields(line), " "))
		failed, err := strconv.Atoi(strings.TrimSpace(cells[9]))
		if err != nil {
			return nil, err
		}
		ratio, err := strconv.ParseFloat(strings.TrimSpace(cells[10]), 64)
		if err != nil {
			return nil, err
		}
		got[scenario] = result{ratio, failed}
	}
	return got, nil
}
