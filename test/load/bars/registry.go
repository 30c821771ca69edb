package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/nodeapi"
	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/test/node"
)

func measureRegister(ctx context.Context, r *report) error {
	n, dir, err := r.up(ctx)
	if err != nil {
		return err
	}
	defer n.Kill()
	svc, err := node.Start(ctx, nil, node.Env(dir), r.service)
	if err != nil {
		return err
	}
	defer svc.Kill()
	port, err := portOf(ctx, svc)
	if err != nil {
		return err
	}
	disco := discoveryapi.NewClient(n.Addresses["control"], n.ServiceToken)
	defer disco.Close()
	client := newClient()
	var routable, acknowledged []float64
	for i := range 300 {
		name := fmt.Sprintf("svc-%d", i)
		begin := time.Now()
		_, err := disco.Register(ctx, mesh.Registration{Service: name, Port: port, Address: "127.0.0.1", Lifetime: mesh.Permanent})
		if err != nil {
			return err
		}
		acknowledged = append(acknowledged, millis(time.Since(begin)))
		if err := until(ctx, 5*time.Second, func() error {
			_, err := get(ctx, client, "http://"+n.Addresses["gateway"]+"/api/"+name+"/")
			return err
		}); err != nil {
			return err
		}
		routable = append(routable, millis(time.Since(begin)))
	}
	r.note("acknowledged p50 %.2f ms, p99 %.2f ms; routable p50 %.2f ms", median(acknowledged), percentile(acknowledged, 99), median(routable))
	r.atMost("registration to a 200 through the gateway, p99 of 300", percentile(routable, 99), 20, "ms", "3")
	return nil
}

const (
	sessionInstances = 1000
	sessionServices  = 100
	sessionWatch     = 30 * time.Second
)

func measureSessions(ctx context.Context, r *report) error {
	n, _, err := r.up(ctx)
	if err != nil {
		return err
	}
	defer n.Kill()
	disco := discoveryapi.NewClient(n.Addresses["control"], n.ServiceToken)
	defer disco.Close()
	status := nodeapi.NewClient(n.Addresses["control"], n.AdminToken)
	renewing, stop := context.WithCancel(ctx)
	var keepers sync.WaitGroup
	defer keepers.Wait()
	defer stop()
	for i := range sessionInstances {
		s, err := disco.Open(ctx, mesh.Registration{Service: fmt.Sprintf("svc-%d", i%sessionServices), Address: "127.0.0.1", Port: 20000 + i}, 0)
		if err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
		keepers.Go(func() { renew(renewing, s, i) })
	}
	if err := rest(ctx, mesh.RenewInterval); err != nil {
		return err
	}
	before, err := status.Status(ctx)
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
	after, err := status.Status(ctx)
	if err != nil {
		return err
	}
	rss, err := residentMiB(n.ProcessID())
	if err != nil {
		return err
	}
	r.note("%d instances, %d sessions, %.0f MiB", after.Registry.Instances, after.Registry.Sessions, rss)
	if after.Registry.Instances != sessionInstances {
		return fmt.Errorf("%d instances are left", after.Registry.Instances)
	}
	r.atMost("CPU of the node while each renews every 10 s", (cpu1-cpu0)/sessionWatch.Seconds()*100, 10, "%", "")
	writes := after.Registry.Revision.Number - before.Registry.Revision.Number
	r.atMost("store writes in 30 s while nothing changes", float64(writes), 0, "", "")
	return nil
}

// renew spreads the renewals over the interval, as instances that joined at different times do.
func renew(ctx context.Context, s mesh.Session, i int) {
	defer s.Close(false)
	if rest(ctx, mesh.RenewInterval*time.Duration(i)/sessionInstances) != nil {
		return
	}
	for {
		if s.Renew(ctx) != nil || rest(ctx, mesh.RenewInterval) != nil {
			return
		}
	}
}

// portOf waits for the test service to say where it listens.
func portOf(ctx context.Context, p *node.Process) (port int, err error) {
	err = until(ctx, 10*time.Second, func() error {
		_, said, _ := strings.Cut(p.Output(), "listening on 127.0.0.1:")
		_, err := fmt.Sscan(said, &port)
		return err
	})
	return port, err
}
