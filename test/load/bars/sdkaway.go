package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/nodeapi"
	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/test/node"
)

// awayFor is how long there is no node, and listedFor how long it is watched whether instances stay: longer than
// their leases.
func (r *report) awayFor() (away, listed time.Duration) {
	if r.short {
		return 5 * time.Second, 2 * time.Second
	}
	return 30 * time.Second, mesh.LeaseTTL + 5*time.Second
}

func measureSDKAway(ctx context.Context, r *report) error {
	n, dir, err := r.up(ctx)
	if err != nil {
		return err
	}
	defer func() { n.Kill() }()
	procs, err := threeHellos(ctx, r, dir)
	defer func() { killAll(procs) }()
	if err != nil {
		return err
	}
	before, err := incarnations(ctx, n)
	if err != nil {
		return err
	}
	client, err := clientOf(n)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	l := startLoadBy(ctx, client.HTTP(), http.MethodGet, helloByName, loadRate)
	if err := rest(ctx, time.Second); err != nil {
		return err
	}
	away, listed := r.awayFor()
	n.Kill()
	if err := rest(ctx, away); err != nil {
		return err
	}
	again, err := upAgain(ctx, r, dir, "--listen-control", n.Addresses["control"])
	if err != nil {
		return err
	}
	n = again
	if err := measureReturn(ctx, r, n, before); err != nil {
		return err
	}
	if err := rest(ctx, listed); err != nil {
		return err
	}
	r.failedOf(l.end(), fmt.Sprintf("calls at %d/s, %s of them without a node", loadRate, away), 0)
	after, err := incarnations(ctx, n)
	if err != nil {
		return err
	}
	dropped := len(before)
	for id, incarnation := range before {
		if after[id] == incarnation {
			dropped--
		}
	}
	r.atMost(fmt.Sprintf("dropped of %d instances, %s later", len(before), listed), float64(dropped), 0, "", "")
	return nil
}

// measureReturn waits until a node that has come back lists every instance, and then until it hears each.
func measureReturn(ctx context.Context, r *report, n *node.Node, before map[string]uint64) error {
	begin := time.Now()
	if err := until(ctx, 10*time.Second, func() error {
		now, err := incarnations(ctx, n)
		if err == nil && !maps.Equal(now, before) {
			err = fmt.Errorf("it lists %v, want %v", now, before)
		}
		return err
	}); err != nil {
		return err
	}
	r.atMost("ready to all instances listed", millis(time.Since(begin)), 2000, "ms", "")
	status := nodeapi.NewClient(n.Addresses["control"], n.AdminToken)
	defer status.Close()
	if err := until(ctx, 30*time.Second, func() error {
		st, err := status.Status(ctx)
		if err == nil && st.Registry.Sessions != len(before) {
			err = fmt.Errorf("%d sessions, want %d", st.Registry.Sessions, len(before))
		}
		return err
	}); err != nil {
		return err
	}
	r.note("every session is held again %.0f ms after it was ready", millis(time.Since(begin)))
	return nil
}

// incarnations returns those of the instances of hello, by their ids.
func incarnations(ctx context.Context, n *node.Node) (map[string]uint64, error) {
	disco := discoveryapi.NewClient(n.Addresses["control"], n.ServiceToken)
	defer disco.Close()
	snap, err := disco.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]uint64{}
	for _, i := range snap.Services[helloName] {
		out[i.ID] = i.Incarnation
	}
	return out, nil
}
