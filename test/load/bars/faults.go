package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/test/node"
)

const loadRate = 500

// three starts three copies of the service web and waits until all three answer.
func three(ctx context.Context, r *report, n *node.Node, dir string) ([]*node.Process, error) {
	var procs []*node.Process
	for range 3 {
		p, err := runService(ctx, r, dir, "web")
		if err != nil {
			return procs, err
		}
		procs = append(procs, p)
	}
	client := newClient()
	seen := map[string]bool{}
	err := until(ctx, 15*time.Second, func() error {
		body, err := get(ctx, client, url(n))
		if err != nil {
			return err
		}
		seen[pidIn(body)] = true
		if len(seen) < 3 {
			return fmt.Errorf("only %d of 3 answer", len(seen))
		}
		return nil
	})
	return procs, err
}

func url(n *node.Node) string { return "http://" + n.Addresses["gateway"] + "/api/web/" }

func pidIn(body string) string { pid, _, _ := strings.Cut(body, " "); return pid }

func killAll(procs []*node.Process) {
	for _, p := range procs {
		p.Kill()
	}
}

func measureCrash(ctx context.Context, r *report) error {
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
	l := startLoad(ctx, url(n), loadRate)
	if err := rest(ctx, 2*time.Second); err != nil {
		return err
	}
	before := alive(ctx, r, dir)
	killed := time.Now()
	procs[0].Kill()
	out := time.Duration(0)
	if err := until(ctx, 5*time.Second, func() error {
		if a := alive(ctx, r, dir); a >= before {
			return fmt.Errorf("%d instances pass", a)
		}
		return nil
	}); err != nil {
		return err
	}
	out = time.Since(killed)
	if err := rest(ctx, 2*time.Second); err != nil {
		return err
	}
	shots := l.end()
	failed, last := failures(shots)
	if last != nil {
		r.note("failed with: %v", last)
	}
	r.atMost(fmt.Sprintf("failed of %d GETs at %d/s", len(shots), loadRate), float64(failed), 1, "", "0")
	r.atMost("kill -9 to out of rotation", millis(out), 1000, "ms", "")
	return nil
}

// alive counts the passing instances of web.
func alive(ctx context.Context, r *report, dir string) int {
	cmd := exec.CommandContext(ctx, r.bin, "services", "--json")
	cmd.Env = append(cmd.Environ(), node.Env(dir)...)
	out, err := cmd.Output()
	if err != nil {
		return -1
	}
	return strings.Count(strings.ReplaceAll(string(out), " ", ""), `"health":"passing"`)
}

func measureRestart(ctx context.Context, r *report) error {
	n, dir, err := r.up(ctx, "--log-level", "warn")
	if err != nil {
		return err
	}
	disco := discoveryapi.NewClient(n.Addresses["control"], n.ServiceToken)
	defer disco.Close()
	svc, err := node.Start(ctx, nil, node.Env(dir), r.service)
	if err != nil {
		return err
	}
	defer svc.Kill()
	port, err := portOf(ctx, svc)
	if err != nil {
		return err
	}
	const kept = 200
	for i := range kept {
		if _, err := disco.Register(ctx, mesh.Registration{
			Service: "web", ID: fmt.Sprintf("web-%d", i), Address: "127.0.0.1", Port: port, Lifetime: mesh.Permanent,
		}); err != nil {
			return err
		}
	}
	l := startLoad(ctx, url(n), loadRate)
	if err := rest(ctx, time.Second); err != nil {
		return err
	}
	n.Kill()
	l.end()
	begin := time.Now()
	again, err := upAgain(ctx, r, dir)
	if err != nil {
		return err
	}
	defer again.Kill()
	if _, err := get(ctx, newClient(), url(again)); err != nil {
		return fmt.Errorf("after the restart: %w", err)
	}
	routed := time.Since(begin)
	disco2 := discoveryapi.NewClient(again.Addresses["control"], again.ServiceToken)
	defer disco2.Close()
	snap, err := disco2.Snapshot(ctx)
	if err != nil {
		return err
	}
	r.atMost(fmt.Sprintf("lost of %d acknowledged registrations", kept), float64(kept-len(snap.Services["web"])), 0, "", "")
	r.note("routed again %.0f ms after the new start", millis(routed))
	return nil
}

const webSockets = 100

func measureWebSockets(ctx context.Context, r *report) error {
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
	disco := discoveryapi.NewClient(n.Addresses["control"], n.ServiceToken)
	defer disco.Close()
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range webSockets {
		c, err := upgrade(ctx, n.Addresses["gateway"], "/api/web/ws")
		if err != nil {
			return err
		}
		conns = append(conns, c)
	}
	for i := range 100 {
		if _, err := disco.Register(ctx, mesh.Registration{
			Service: fmt.Sprintf("other-%d", i), Address: "127.0.0.1", Port: 9, Lifetime: mesh.Permanent,
		}); err != nil {
			return err
		}
	}
	broken := 0
	for i, c := range conns {
		if err := echoes(c, fmt.Sprintf("still here %d", i)); err != nil {
			broken++
		}
	}
	r.atMost(fmt.Sprintf("broken of %d WebSockets after 100 registrations", webSockets), float64(broken), 0, "", "")
	return nil
}
