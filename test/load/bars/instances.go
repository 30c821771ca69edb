package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/toska-mesh/toska-mesh/test/node"
)

// failingFor is how long the load on a service goes on of which one instance fails.
const failingFor = 15 * time.Second

func measureFailing(ctx context.Context, r *report) error {
	n, dir, err := r.up(ctx)
	if err != nil {
		return err
	}
	defer n.Kill()
	procs, err := three(ctx, r, n, dir)
	defer func() { killAll(procs) }()
	if err != nil {
		return err
	}
	client := newClient()
	if _, err := ask(ctx, client, procs[0], "/switch?status=503"); err != nil {
		return err
	}
	before, err := served(ctx, client, procs)
	if err != nil {
		return err
	}
	l := startLoad(ctx, url(n), loadRate)
	if err := rest(ctx, failingFor); err != nil {
		return err
	}
	shots := l.end()
	after, err := served(ctx, client, procs)
	if err != nil {
		return err
	}
	failed, last := failures(shots)
	if last != nil {
		r.note("failed with: %v", last)
	}
	total := 0
	for i := range after {
		total += after[i] - before[i]
	}
	r.note("%d requests, of which %d failed; the instances answered %d, the failing one %d of them",
		len(shots), failed, total, after[0]-before[0])
	r.atMost(fmt.Sprintf("failed of %d GETs at %d/s", len(shots), loadRate), 100*float64(failed)/float64(len(shots)), 1, "%", "0")
	r.atMost("requests to the instances ÷ requests of the client", float64(total)/float64(len(shots)), 1.2, "", "")
	return nil
}

// ask asks an instance itself, past the gateway.
func ask(ctx context.Context, c *http.Client, p *node.Process, path string) (string, error) {
	port, err := portOf(ctx, p)
	if err != nil {
		return "", err
	}
	return get(ctx, c, fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
}

// served returns how many requests each instance has answered so far.
func served(ctx context.Context, c *http.Client, procs []*node.Process) ([]int, error) {
	out := make([]int, len(procs))
	for i, p := range procs {
		body, err := ask(ctx, c, p, "/served")
		if err != nil {
			return nil, err
		}
		if out[i], err = strconv.Atoi(strings.TrimSpace(body)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// slowRate is how many slow requests a second go beside the others.
const slowRate = 20

func measureRolling(ctx context.Context, r *report) error {
	n, dir, err := r.up(ctx)
	if err != nil {
		return err
	}
	defer n.Kill()
	procs, err := three(ctx, r, n, dir)
	defer func() { killAll(procs) }()
	if err != nil {
		return err
	}
	// No POST is sent twice, and the slow ones are under way longer than an instance is left to drain.
	loads := []*load{
		startLoad(ctx, url(n), loadRate/2), startLoadOf(ctx, http.MethodPost, url(n), loadRate/2),
		startLoadOf(ctx, http.MethodPost, url(n)+"slow?for=400ms", slowRate),
	}
	if err := rest(ctx, time.Second); err != nil {
		return err
	}
	var stopped []float64
	for i, p := range procs {
		begin := time.Now()
		if err := p.StopBy(syscall.SIGTERM, 10*time.Second); err != nil {
			return fmt.Errorf("stop program %d: %w\n%s", i, err, p.Output())
		}
		stopped = append(stopped, millis(time.Since(begin)))
		if procs[i], err = runService(ctx, r, dir, "web"); err != nil {
			return err
		}
		if err := answers(ctx, n, procs[i]); err != nil {
			return err
		}
	}
	if err := rest(ctx, time.Second); err != nil {
		return err
	}
	r.note("SIGTERM to gone: %.0f ms each", median(stopped))
	for i, what := range []string{"GETs at 250/s", "POSTs at 250/s", "POSTs that take 400 ms, at 20/s"} {
		shots := loads[i].end()
		failed, last := failures(shots)
		if last != nil {
			r.note("failed with: %v", last)
		}
		r.atMost(fmt.Sprintf("failed of %d %s", len(shots), what), float64(failed), 0, "", "")
	}
	return nil
}

// answers waits until the program is among those that answer through the gateway.
func answers(ctx context.Context, n *node.Node, p *node.Process) error {
	client := newClient()
	defer client.CloseIdleConnections()
	mine, err := ask(ctx, client, p, "/")
	if err != nil {
		return err
	}
	return until(ctx, 15*time.Second, func() error {
		body, err := get(ctx, client, url(n))
		if err == nil && pidIn(body) != pidIn(mine) {
			err = fmt.Errorf("process %s does not answer through the gateway", pidIn(mine))
		}
		return err
	})
}
