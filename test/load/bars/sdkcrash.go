package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/toska-mesh/toska-mesh/test/node"
	"github.com/toska-mesh/toska-mesh/toska"
)

// helloByName is the service as a client of the SDK names it.
const helloByName = "toska://" + helloName + "/"

// threeHellos starts three copies of hello and waits until the gateway may pick all of them.
func threeHellos(ctx context.Context, r *report, dir string) ([]*node.Process, error) {
	var procs []*node.Process
	for range 3 {
		p, err := runHello(ctx, r, dir)
		if err != nil {
			return procs, err
		}
		procs = append(procs, p)
	}
	return procs, allAlive(ctx, r, dir, len(procs))
}

// allAlive waits until that many instances pass.
func allAlive(ctx context.Context, r *report, dir string, want int) error {
	return until(ctx, 15*time.Second, func() error {
		if a := alive(ctx, r, dir); a != want {
			return fmt.Errorf("%d instances pass, want %d", a, want)
		}
		return nil
	})
}

// clientOf returns a client of the SDK that knows the node by its address alone.
func clientOf(n *node.Node) (*toska.Client, error) {
	return toska.NewClient(toska.WithControl(n.Addresses["control"]), toska.WithToken(n.ServiceToken), toska.WithLogger(nil))
}

func measureSDKCrash(ctx context.Context, r *report) error {
	n, dir, err := r.up(ctx)
	if err != nil {
		return err
	}
	defer n.Kill()
	procs, err := threeHellos(ctx, r, dir)
	defer func() { killAll(procs) }()
	if err != nil {
		return err
	}
	client, err := clientOf(n)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	ways := []string{"through the gateway", "through toska.Client"}
	loads := []*load{
		startLoad(ctx, helloURL(n), loadRate),
		startLoadBy(ctx, client.HTTP(), http.MethodGet, helloByName, loadRate),
	}
	if err := rest(ctx, 2*time.Second); err != nil {
		return err
	}
	procs[0].Kill()
	killed := time.Now()
	if err := allAlive(ctx, r, dir, len(procs)-1); err != nil {
		return err
	}
	out := time.Since(killed)
	if err := rest(ctx, 2*time.Second); err != nil {
		return err
	}
	for i, l := range loads {
		r.failedOf(l.end(), fmt.Sprintf("GETs at %d/s %s", loadRate, ways[i]), 1)
	}
	r.atMost("kill -9 to out of rotation", millis(out), 1000, "ms", "")
	return nil
}

// failedOf prints how many of the shots have failed, and the last reason.
func (r *report) failedOf(shots []shot, what string, bar float64) {
	failed, last := failures(shots)
	if last != nil {
		r.note("failed with: %v", last)
	}
	r.atMost(fmt.Sprintf("failed of %d %s", len(shots), what), float64(failed), bar, "", "")
}
