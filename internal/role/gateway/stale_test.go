package gateway_test

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/role/gateway"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// mute is a listener to which nobody comes.
type mute struct {
	woken chan struct{}
	once  sync.Once
}

func (m *mute) Accept() (net.Conn, error) { <-m.woken; return nil, net.ErrClosed }
func (m *mute) Close() error              { m.once.Do(func() { close(m.woken) }); return nil }
func (m *mute) Addr() net.Addr            { return &net.TCPAddr{} }
func (m *mute) SetDeadline(t time.Time) error {
	if !t.IsZero() {
		return m.Close()
	}
	return nil
}

// saved is a table of the last run.
type saved struct{ snap *mesh.Snapshot }

func (s saved) Load() (*mesh.Snapshot, error) { return s.snap, nil }
func (saved) Save(*mesh.Snapshot) error       { return nil }

func TestATableOfTheLastRunIsToldOfUntilItIsFresh(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer time.Duration // after which discovery answers
		warned bool
	}{
		{"a start that takes as long as starts do is no warning", 9 * time.Second, false},
		{"one that lasts is", 11 * time.Second, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said buffer
				d := newDiscovery()
				cfg := gateway.DefaultConfig()
				cfg.Loops = 0 // a loop waits in the kernel, which no bubble sees
				g, err := gateway.New(cfg, gateway.Ports{
					Discovery: d, Listeners: []gateway.Listener{{Name: "gateway", Listener: &mute{woken: make(chan struct{})}}}, Internal: internal{}, Saved: saved{snapshot(1)},
					Log: slog.New(slog.NewJSONHandler(&said, nil)),
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- g.Run(ctx, func() {}) }()
				time.Sleep(tc.answer)
				d.set(snapshot(2), nil)
				synctest.Wait()
				stop()
				if err := <-done; err != nil {
					t.Errorf("Run = %v", err)
				}
				levels := map[string]any{}
				for _, line := range said.lines(t) {
					levels[line["msg"].(string)] = line["level"]
				}
				if levels["serving the table of the last run until discovery answers"] != "INFO" || levels["table is fresh again"] != "INFO" {
					t.Errorf("the log does not tell of begin and end: %v", levels)
				}
				if got := levels["still serving the table of the last run: discovery does not answer"] == "WARN"; got != tc.warned {
					t.Errorf("warned: %v, want %v", got, tc.warned)
				}
			})
		})
	}
}
