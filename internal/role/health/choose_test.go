package health_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/role/health"
	"github.com/toska-mesh/toska-mesh/internal/signal/probe"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// TestWhichCheckCounts has the sources in their order, and the family's defaults and bounds.
func TestWhichCheckCounts(t *testing.T) {
	own := &mesh.Check{HTTP: "/own", Timeout: time.Second}
	file := map[string]mesh.Check{"web": {Port: 99, Interval: time.Minute}}
	for _, tt := range []struct {
		name     string
		check    *mesh.Check
		metadata map[string]string
		file     map[string]mesh.Check
		numbers  health.Numbers
		want     *mesh.Check
	}{
		{"none without a check", nil, map[string]string{"weight": "2"}, nil, health.DefaultConfig().Metadata, nil},
		{"the registration's own, with our defaults", own, nil, nil, health.Numbers{},
			&mesh.Check{HTTP: "/own", Port: 80, Interval: 10 * time.Second, Timeout: time.Second, Up: 2, Down: 3}},
		{"its own before its metadata", own, map[string]string{"health_check_endpoint": "/meta"}, nil, health.Numbers{},
			&mesh.Check{HTTP: "/own", Port: 80, Interval: 10 * time.Second, Timeout: time.Second, Up: 2, Down: 3}},
		{"the file's before its own", own, nil, file, health.Numbers{},
			&mesh.Check{Port: 99, Interval: time.Minute, Timeout: 2 * time.Second, Up: 2, Down: 3}},
		{"the file's without any other", nil, nil, file, health.Numbers{},
			&mesh.Check{Port: 99, Interval: time.Minute, Timeout: 2 * time.Second, Up: 2, Down: 3}},
		{"the file's for another service", nil, nil, map[string]mesh.Check{"other": {}}, health.Numbers{}, nil},
		{"what is too often is slowed down", &mesh.Check{Interval: time.Millisecond, Timeout: time.Nanosecond, Up: -1, Down: -1}, nil, nil, health.Numbers{},
			&mesh.Check{Port: 80, Interval: time.Second, Timeout: 100 * time.Millisecond, Up: 2, Down: 3}},
		{"no probe takes longer than its interval", &mesh.Check{Interval: time.Second, Timeout: time.Minute}, nil, nil, health.Numbers{},
			&mesh.Check{Port: 80, Interval: time.Second, Timeout: time.Second, Up: 2, Down: 3}},
		{"nor than ten seconds, of the file's neither", nil, nil, map[string]mesh.Check{"web": {Interval: time.Hour, Timeout: time.Minute}}, health.Numbers{},
			&mesh.Check{Port: 80, Interval: time.Hour, Timeout: 10 * time.Second, Up: 2, Down: 3}},
		{"metadata: an endpoint, with the family's defaults", nil, map[string]string{"health_check_endpoint": "/h", "tcp_port": "81"}, nil,
			health.DefaultConfig().Metadata,
			&mesh.Check{HTTP: "/h", Port: 80, Interval: 30 * time.Second, Timeout: 5 * time.Second, Up: 2, Down: 3}},
		{"metadata: an endpoint without its slash, over TLS", nil, map[string]string{"health_check_endpoint": "h", "scheme": "HTTPS"}, nil,
			health.DefaultConfig().Metadata,
			&mesh.Check{HTTP: "/h", TLS: true, Port: 80, Interval: 30 * time.Second, Timeout: 5 * time.Second, Up: 2, Down: 3}},
		{"metadata: a whole URL gives its path and scheme, never its host", nil,
			map[string]string{"health_check_endpoint": "https://metadata.internal:1/h?a=b", "scheme": "http"}, nil, health.DefaultConfig().Metadata,
			&mesh.Check{HTTP: "/h?a=b", TLS: true, Port: 80, Interval: 30 * time.Second, Timeout: 5 * time.Second, Up: 2, Down: 3}},
		{"metadata: a port", nil, map[string]string{"tcp_port": "81", "health_check_endpoint": ""}, nil, health.DefaultConfig().Metadata,
			&mesh.Check{Port: 81, Interval: 30 * time.Second, Timeout: 3 * time.Second, Up: 2, Down: 3}},
		{"metadata: a port that is none", nil, map[string]string{"tcp_port": "70000"}, nil, health.DefaultConfig().Metadata, nil},
		{"metadata: the family's bounds", nil, map[string]string{"health_check_endpoint": "/h"}, nil,
			health.Numbers{Interval: time.Second, HTTPTimeout: time.Millisecond, Down: -1},
			&mesh.Check{HTTP: "/h", Port: 80, Interval: 5 * time.Second, Timeout: time.Second, Up: 2, Down: 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, func(c *health.Config) { c.Metadata = tt.numbers })
				b.role.Configure(tt.file)
				b.register(mesh.Registration{Service: "Web", ID: "a", Address: "10.0.0.1", Port: 80, Check: tt.check, Metadata: tt.metadata})
				synctest.Wait()
				var got *mesh.Check
				for _, st := range b.probes("") {
					got = &st.Check
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("check (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// prober is fake: it answers with what it was told of 10.0.0.1, and passes everywhere else.
type prober struct{ results chan map[string]probe.Result }

func newProber() *prober {
	p := &prober{make(chan map[string]probe.Result, 1)}
	p.results <- map[string]probe.Result{}
	return p
}

func (p *prober) answer(ok bool, output string) {
	m := <-p.results
	m["10.0.0.1"] = probe.Result{OK: ok, Output: output}
	p.results <- m
}

// Probe implements probe.Prober.
func (p *prober) Probe(ctx context.Context, t *probe.Target) probe.Result {
	m := <-p.results
	r, ok := m[t.Address]
	p.results <- m
	if !ok {
		return probe.Result{OK: true, Output: "fine"}
	}
	if r.Output == "hangs" {
		<-ctx.Done()
	}
	return r
}
