package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/wire/nodeapi"
	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/test/node"
)

// storeHeld is how long the store of a restarted node takes to open.
const storeHeld = 3 * time.Second

func measureTable(ctx context.Context, r *report) error {
	n, dir, err := r.up(ctx)
	if err != nil {
		return err
	}
	defer n.Kill()
	web, err := runService(ctx, r, dir, "web")
	if err != nil {
		return err
	}
	defer web.Kill()
	l := startLoad(ctx, url(n), loadRate)
	// The table is saved within a second.
	if err := errors.Join(routed(ctx, url(n)), rest(ctx, 2*time.Second)); err != nil {
		return err
	}
	n.Kill()
	release, err := holdStore(filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	begin := time.Now()
	again, err := node.Launch(ctx, r.bin, dir, nil, "--access-log", "off",
		"--listen-gateway", n.Addresses["gateway"], "--listen-control", n.Addresses["control"])
	if err != nil {
		return errors.Join(err, release())
	}
	defer again.Kill()
	status := nodeapi.NewClient(n.Addresses["control"], n.AdminToken)
	defer status.Close()
	err = awaitHeld(ctx, r, status, again, begin)
	released := time.Now()
	if err := errors.Join(err, release()); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(again.Output()))
	}
	if err := resynced(ctx, r, status, released); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(again.Output()))
	}
	late, err := runService(ctx, r, dir, "late")
	if err != nil {
		return err
	}
	defer late.Kill()
	if err := routed(ctx, "http://"+n.Addresses["gateway"]+"/api/late/"); err != nil {
		return fmt.Errorf("a program that came after the restart: %w", err)
	}
	judgeTable(r, l.end(), begin, released)
	return nil
}

// staleSaid is how the gateway's log tells that it serves from what was saved.
const staleSaid = "serving the table of the last run until discovery answers"

// awaitHeld waits for the moment before the store is let go: the node must know by then, and say, that
// it serves what it knew before.
func awaitHeld(ctx context.Context, r *report, c *nodeapi.Client, p *node.Process, begin time.Time) error {
	if err := rest(ctx, time.Until(begin.Add(storeHeld))); err != nil {
		return err
	}
	st, err := c.Status(ctx)
	if err != nil {
		return fmt.Errorf("while the store is shut: %w", err)
	}
	if state := roleState(st, "store"); state != "starting" {
		return fmt.Errorf("the store was held shut and is %s all the same", state)
	}
	if st.Ready || !st.Registry.Stale || !strings.Contains(p.Output(), staleSaid) {
		return fmt.Errorf("status and log do not say that the registry is stale while the store is shut: ready %v, %+v", st.Ready, st.Registry)
	}
	r.note("with the store shut for %v: status and log say stale, not ready; gateway %s, store %s",
		storeHeld, roleState(st, "gateway"), roleState(st, "store"))
	return nil
}

// resynced waits until the node serves what its store says, and the program's session is back.
func resynced(ctx context.Context, r *report, c *nodeapi.Client, released time.Time) error {
	wait := func(what string, done func(mesh.Status) bool) error {
		err := until(ctx, 20*time.Second, func() error {
			st, err := c.Status(ctx)
			if err == nil && !done(st) {
				err = fmt.Errorf("%s: not yet; registry %+v, table %+v", what, st.Registry, st.Table)
			}
			return err
		})
		if err == nil {
			r.note("%s %.0f ms after the store was let go", what, millis(time.Since(released)))
		}
		return err
	}
	return errors.Join(
		wait("store open", func(st mesh.Status) bool { return roleState(st, "store") == "ready" }),
		wait("registry no longer stale, the table at its revision, all ready", func(st mesh.Status) bool {
			return st.Ready && !st.Registry.Stale && st.Table != nil && st.Table.Revision == st.Registry.Revision
		}),
		wait("session of the program back", func(st mesh.Status) bool { return st.Registry.Sessions == 1 }),
	)
}

func roleState(st mesh.Status, name string) string {
	for _, role := range st.Roles {
		if role.Name == name {
			return role.State
		}
	}
	return "absent"
}

func judgeTable(r *report, shots []shot, begin, released time.Time) {
	slices.SortFunc(shots, func(a, b shot) int { return a.end.Compare(b.end) })
	var first time.Time
	early, after := 0, []shot{}
	for _, s := range shots {
		switch {
		case s.at.Before(begin):
		case first.IsZero() && s.err == nil:
			first = s.end
			early++
		case !first.IsZero():
			if s.err == nil && s.end.Before(released) {
				early++
			}
			if s.at.After(first) {
				after = append(after, s)
			}
		}
	}
	failed, last := failures(after)
	if last != nil {
		r.note("failed with: %v", last)
	}
	r.atMost("start of the process to its first 200, the store shut", millis(first.Sub(begin)), 1000, "ms", "300")
	r.atLeast("200s before the store was open", float64(early), 1, "")
	r.atMost(fmt.Sprintf("failed of %d GETs from the first 200 on", len(after)), float64(failed), 0, "", "")
}

// routed waits until a URL answers 200.
func routed(ctx context.Context, url string) error {
	client := newClient()
	defer client.CloseIdleConnections()
	return until(ctx, 15*time.Second, func() error { _, err := get(ctx, client, url); return err })
}
