package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/backend/probers"
	"github.com/toska-mesh/toska-mesh/internal/role/health"
	"github.com/toska-mesh/toska-mesh/internal/signal/probe"
	"github.com/toska-mesh/toska-mesh/internal/signal/series"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func (a *App) newHealth() (*health.Health, error) {
	cfg := health.DefaultConfig()
	cfg.NodeID = a.dir.NodeID()
	n, said := &cfg.Metadata, a.cfg.Probes
	n.Interval = cmp.Or(said.Interval, n.Interval)
	n.HTTPTimeout, n.TCPTimeout = cmp.Or(said.HTTPTimeout, n.HTTPTimeout), cmp.Or(said.TCPTimeout, n.TCPTimeout)
	n.Down, n.Up = cmp.Or(said.Down, n.Down), cmp.Or(said.Up, n.Up)
	role, err := health.New(cfg, health.Ports{
		Discovery: a.discovery, Judge: a.discovery,
		Prober: probers.New(probers.Config{Version: a.cfg.Version}), Log: a.log(RoleHealth),
	})
	if err != nil {
		return nil, err
	}
	if f := a.cfg.File; f != nil {
		role.Configure(f.Checks)
	}
	return role, nil
}

// probing is the health role as a contract; nil where it does not run.
func (a *App) probing() mesh.Probing {
	if a.health == nil {
		return nil
	}
	return a.health
}

// probeSeries is the state of the probes as it is scraped.
func (a *App) probeSeries() series.Probes {
	s := a.health.Stats()
	return series.Probes{Counts: s.Counts, Targets: s.Targets, Failing: s.Failing, OldestDue: s.OldestDue}
}

// Probe makes one HTTP probe of what listens on host and port, by the rule of the node's probes: 2xx, after
// redirects within the same place at most. It returns nil if it passes, otherwise an error that says what was
// found. ctx bounds it.
func Probe(ctx context.Context, version, host string, port int, path string) error {
	found := probers.New(probers.Config{Version: version}).Probe(ctx, &probe.Target{
		Address: host, Check: mesh.Check{HTTP: path, Port: port},
	})
	if found.OK {
		return nil
	}
	return errors.New(found.Output)
}

// mostSeconds bounds the durations of the environment.
const mostSeconds = 24 * 60 * 60

// setSeconds reads a duration of the environment.
func setSeconds(into func(*health.Numbers) *time.Duration) func(*EnvSettings, string) string {
	return func(e *EnvSettings, value string) string {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > mostSeconds {
			return fmt.Sprintf("%.64q is no number of seconds; set it to 1 to %d, or unset it", value, mostSeconds)
		}
		*into(&e.Probes) = time.Duration(n) * time.Second
		return ""
	}
}

// setThreshold reads a count of the environment. What is not above zero is the family's default.
func setThreshold(ifNone int, into func(*health.Numbers) *int) func(*EnvSettings, string) string {
	const most = 100
	return func(e *EnvSettings, value string) string {
		n, err := strconv.Atoi(value)
		if err != nil || n > most {
			return fmt.Sprintf("%.64q is no count of probes in a row; set it to 1 to %d, or unset it", value, most)
		}
		if n <= 0 {
			n = ifNone
		}
		*into(&e.Probes) = n
		return ""
	}
}

// healthRows are the settings of the family's health monitor.
func healthRows() []envRow {
	const ofMetadata = "for instances that are probed by what their metadata says"
	return []envRow{
		{name: "*", parts: []string{"HEALTHMONITOR_PROBE_INTERVAL_SECONDS", "HealthMonitor__ProbeIntervalSeconds"},
			does:  "seconds between two probes of an instance, 30 by default and at least 5, " + ofMetadata,
			apply: setSeconds(func(n *health.Numbers) *time.Duration { return &n.Interval })},
		{name: "*", parts: []string{"HEALTHMONITOR_HTTP_TIMEOUT_SECONDS", "HealthMonitor__HttpTimeoutSeconds"},
			does:  "seconds that an HTTP probe may take, 5 by default, " + ofMetadata,
			apply: setSeconds(func(n *health.Numbers) *time.Duration { return &n.HTTPTimeout })},
		{name: "*", parts: []string{"HEALTHMONITOR_TCP_TIMEOUT_SECONDS", "HealthMonitor__TcpTimeoutSeconds"},
			does:  "seconds that a TCP probe may take, 3 by default, " + ofMetadata,
			apply: setSeconds(func(n *health.Numbers) *time.Duration { return &n.TCPTimeout })},
		{name: "*", parts: []string{"HEALTHMONITOR_FAILURE_THRESHOLD", "HealthMonitor__FailureThreshold"},
			does:  "failures in a row that make an instance failing, 3 by default, " + ofMetadata,
			apply: setThreshold(health.DefaultConfig().Metadata.Down, func(n *health.Numbers) *int { return &n.Down })},
		{name: "HealthMonitor__RecoveryThreshold",
			does:  "successes in a row that make it passing again, 2 by default, " + ofMetadata,
			apply: setThreshold(health.DefaultConfig().Metadata.Up, func(n *health.Numbers) *int { return &n.Up })},
	}
}
