package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func measureDisk(_ context.Context, r *report) error {
	f, err := os.Create(filepath.Join(r.dir, "fsync"))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var took []float64
	for range 300 {
		begin := time.Now()
		if _, err := f.WriteString("a record of some sixty bytes, as a small registration would be\n"); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		took = append(took, millis(time.Since(begin)))
	}
	r.note("fsync p50 %.2f ms, p99 %.2f ms", median(took), percentile(took, 99))
	return nil
}

func measureStart(ctx context.Context, r *report) error {
	n, dir, err := r.up(ctx)
	if err != nil {
		return err
	}
	first := n.Took
	if err := n.Stop(5 * time.Second); err != nil {
		return err
	}
	var took, stopped []float64
	for range 5 {
		n, err := upAgain(ctx, r, dir)
		if err != nil {
			return err
		}
		took = append(took, millis(n.Took))
		begin := time.Now()
		if err := n.Stop(5 * time.Second); err != nil {
			return err
		}
		stopped = append(stopped, millis(time.Since(begin)))
	}
	r.note("first start, with an empty data directory: %.0f ms", millis(first))
	r.atMost("start to ready, median of five", median(took), 1000, "ms", "300")
	r.atMost("stop of an idle node, slowest of five", percentile(stopped, 100), 2000, "ms", "")
	return measureIdle(ctx, r, dir)
}

// idleFor is how long the idle node is watched: long enough that a hundredth of a core shows.
const idleFor = 10 * time.Second

func measureIdle(ctx context.Context, r *report, dir string) error {
	n, err := upAgain(ctx, r, dir)
	if err != nil {
		return err
	}
	defer n.Kill()
	if err := rest(ctx, 2*time.Second); err != nil {
		return err
	}
	before, err := cpuSeconds(n.ProcessID())
	if err != nil {
		return err
	}
	if err := rest(ctx, idleFor); err != nil {
		return err
	}
	after, err := cpuSeconds(n.ProcessID())
	if err != nil {
		return err
	}
	rss, err := residentMiB(n.ProcessID())
	if err != nil {
		return err
	}
	r.atMost("resident memory, idle", rss, 128, "MiB", "64")
	r.atMost("CPU, idle", (after-before)/idleFor.Seconds()*100, 2, "%", "")
	return nil
}

func measureBuild(ctx context.Context, r *report) error {
	cache := filepath.Join(r.dir, "gocache")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(r.dir, "built"), "./cmd/toska")
	cmd.Env = append(os.Environ(), "GOCACHE="+cache)
	begin := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	r.atMost("go build ./cmd/toska, warm module cache, empty build cache", time.Since(begin).Seconds(), 240, "s", "")
	return os.RemoveAll(cache)
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cpuSeconds returns user and system time of a process so far, from /proc.
func cpuSeconds(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read CPU time, which needs Linux: %w", err)
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("read CPU time: %q", fields)
	}
	return (user + system) / 100, nil
}

func residentMiB(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory, which needs Linux: %w", err)
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("read memory: no VmRSS for %d", pid)
}
