package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/toska-mesh/toska-mesh/test/node"
)

const (
	helloPackage = "./examples/hello"
	helloName    = "hello"
)

func helloURL(n *node.Node) string { return "http://" + n.Addresses["gateway"] + "/api/hello/" }

// buildHello builds the example as one would ship it.
func buildHello(ctx context.Context, r *report) error {
	if r.hello != "" {
		return nil
	}
	bin := filepath.Join(r.dir, helloName)
	if _, err := buildStripped(ctx, bin); err != nil {
		return err
	}
	r.hello = bin
	return nil
}

func buildStripped(ctx context.Context, bin string, env ...string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, helloPackage)
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	begin := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build %s: %w\n%s", helloPackage, err, out)
	}
	return time.Since(begin), nil
}

// runHello starts the example beside the node whose directory is dir.
func runHello(ctx context.Context, r *report, dir string) (*node.Process, error) {
	if err := buildHello(ctx, r); err != nil {
		return nil, err
	}
	return node.Start(ctx, nil, node.Env(dir), r.hello)
}

func measureHello(ctx context.Context, r *report) error {
	if err := buildHello(ctx, r); err != nil {
		return err
	}
	info, err := os.Stat(r.hello)
	if err != nil {
		return err
	}
	r.atMost("hello, stripped", float64(info.Size())/1e6, 15, "MB", "11")
	n, dir, err := r.up(ctx)
	if err != nil {
		return err
	}
	defer n.Kill()
	client := newClient()
	defer client.CloseIdleConnections()
	var took []float64
	for range 5 {
		begin := time.Now()
		p, err := runHello(ctx, r, dir)
		if err != nil {
			return err
		}
		err = until(ctx, 10*time.Second, func() error { _, err := get(ctx, client, helloURL(n)); return err })
		took = append(took, millis(time.Since(begin)))
		if err == nil && len(took) == 1 {
			err = measureHelloMemory(ctx, r, p)
		}
		if err == nil {
			err = p.StopBy(syscall.SIGTERM, 10*time.Second)
		}
		if err != nil {
			p.Kill()
			return fmt.Errorf("%w\n%s", err, tail(p.Output()))
		}
	}
	r.atMost("start to routable, median of five", median(took), 150, "ms", "")
	return measureHelloBuild(ctx, r)
}

func measureHelloMemory(ctx context.Context, r *report, p *node.Process) error {
	if err := rest(ctx, 5*time.Second); err != nil {
		return err
	}
	rss, err := residentMiB(p.ProcessID())
	if err != nil {
		return err
	}
	r.atMost("resident memory, idle", rss, 20, "MiB", "")
	return nil
}

func measureHelloBuild(ctx context.Context, r *report) error {
	cache := filepath.Join(r.dir, "hello-gocache")
	took, err := buildStripped(ctx, filepath.Join(r.dir, "hello-built"), "GOCACHE="+cache)
	if err != nil {
		return err
	}
	r.atMost("go build of hello, warm module cache, empty build cache", took.Seconds(), 60, "s", "")
	return os.RemoveAll(cache)
}
