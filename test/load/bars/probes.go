package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/nodeapi"
	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/test/node"
)

func measureProbes(ctx context.Context, r *report) error {
	n, _, err := r.up(ctx)
	if err != nil {
		return err
	}
	defer n.Kill()
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var served sync.WaitGroup
	served.Go(func() { answer(ln) })
	defer served.Wait()
	defer func() { _ = ln.Close() }()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	disco := discoveryapi.NewClient(n.Addresses["control"], n.ServiceToken)
	defer disco.Close()
	renewing, stop := context.WithCancel(ctx)
	var keepers sync.WaitGroup
	defer keepers.Wait()
	defer stop()
	for i := range sessionInstances {
		s, err := disco.Open(ctx, mesh.Registration{Service: fmt.Sprintf("svc-%d", i%sessionServices), Address: "127.0.0.1",
			Port: number, Check: &mesh.Check{HTTP: "/health"}}, 0)
		if err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
		keepers.Go(func() { renew(renewing, s, i) })
	}
	// Every place in the interval is taken from here on.
	if err := rest(ctx, mesh.CheckInterval+time.Second); err != nil {
		return err
	}
	return watchProbes(ctx, r, n)
}

// watchProbes measures a node while nothing changes.
func watchProbes(ctx context.Context, r *report, n *node.Node) error {
	status := nodeapi.NewClient(n.Addresses["control"], n.AdminToken)
	defer status.Close()
	before, err := status.Status(ctx)
	if err != nil {
		return err
	}
	late0, err := lateness(ctx, n)
	if err != nil {
		return err
	}
	cpu0, err := cpuSeconds(n.ProcessID())
	if err != nil {
		return err
	}
	if err := rest(ctx, sessionWatch); err != nil {
		return err
	}
	cpu1, err := cpuSeconds(n.ProcessID())
	if err != nil {
		return err
	}
	late1, err := lateness(ctx, n)
	if err != nil {
		return err
	}
	after, err := status.Status(ctx)
	if err != nil {
		return err
	}
	rss, err := residentMiB(n.ProcessID())
	if err != nil {
		return err
	}
	probes := late1.count - late0.count
	r.note("%d instances, %d sessions, %d probes in 30 s, %.0f MiB", after.Registry.Instances, after.Registry.Sessions, probes, rss)
	if least := sessionInstances * int(sessionWatch/mesh.CheckInterval) * 9 / 10; probes < least || after.Registry.Instances != sessionInstances {
		return fmt.Errorf("%d probes of %d instances, want at least %d of %d", probes, after.Registry.Instances, least, sessionInstances)
	}
	r.atMost("CPU of the node, renewals and probes every 10 s", (cpu1-cpu0)/sessionWatch.Seconds()*100, 15, "%", "")
	r.atMost("lateness of a probe, p99", late1.since(late0).percentile(99)*1000, 1000, "ms", "")
	writes := after.Registry.Revision.Number - before.Registry.Revision.Number
	r.atMost("store writes in 30 s while nothing changes", float64(writes), 0, "", "")
	return nil
}

// answer passes every check, in a connection of its own, at as little cost as there can be: what is measured
// is the node.
func answer(ln net.Listener) {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		conns.Go(func() {
			defer func() { _ = conn.Close() }()
			in := bufio.NewReaderSize(conn, 512)
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if strings.TrimSpace(line) == "" {
					break
				}
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok") // the node tells
		})
	}
}

// histogram is one of the node's series.
type histogram struct {
	bounds []float64
	counts []int // cumulative
	count  int
}

// lateness reads how late probes began.
func lateness(ctx context.Context, n *node.Node) (histogram, error) {
	const series = "toska_probe_lateness_seconds"
	client := newClient()
	defer client.CloseIdleConnections()
	text, err := get(ctx, client, "http://"+n.Addresses["control"]+"/metrics")
	if err != nil {
		return histogram{}, err
	}
	var h histogram
	for line := range strings.SplitSeq(text, "\n") {
		name, value, ok := strings.Cut(line, "} ")
		number, err := strconv.Atoi(value)
		if !ok || err != nil {
			continue
		}
		if strings.HasPrefix(name, series+"_count{") {
			h.count = number
		}
		_, bound, ok := strings.Cut(name, `le="`)
		if !ok || !strings.HasPrefix(name, series+"_bucket{") {
			continue
		}
		le, err := strconv.ParseFloat(strings.TrimSuffix(bound, `"`), 64)
		if err != nil {
			return histogram{}, fmt.Errorf("read %s: %w", line, err)
		}
		h.bounds, h.counts = append(h.bounds, le), append(h.counts, number)
	}
	if len(h.bounds) == 0 {
		return histogram{}, fmt.Errorf("the node has no series %s", series)
	}
	return h, nil
}

// since leaves what was counted after an earlier moment.
func (h histogram) since(before histogram) histogram {
	out := histogram{bounds: h.bounds, count: h.count - before.count}
	for i := range h.counts {
		out.counts = append(out.counts, h.counts[i]-before.counts[i])
	}
	return out
}

// percentile is the upper bound of the bucket that it lies in.
func (h histogram) percentile(p float64) float64 {
	for i, n := range h.counts {
		if float64(n) >= p/100*float64(h.count) {
			return h.bounds[i]
		}
	}
	return h.bounds[len(h.bounds)-1]
}
