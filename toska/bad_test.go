package toska_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
	"github.com/toska-mesh/toska-mesh/toska/toskatest"
)

// deafPort is a port that nobody listens on.
func deafPort(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

// mistaken joins orders by JoinListener under an address at which nobody listens.
func mistaken(t *testing.T, m *toskatest.Mesh, opts ...toska.Option) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}
	all := m.Options(append(opts, toska.WithID("orders-1"), toska.WithListen("127.0.0.1:0"), toska.WithAdvertise("127.0.0.1:"+deafPort(t)))...)
	go func() { done <- toska.JoinListener(ctx, "orders", server, all...) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("JoinListener = %v", err)
		}
	})
	awaitSnapshot(t, tie(t, m), "it is registered", func(l []*mesh.Instance) bool { return len(l) > 0 })
}

func TestAServiceThatRegistersAPortItDoesNotListenOn(t *testing.T) {
	t.Run("with a check it is failing by the probe's word", func(t *testing.T) {
		m := toskatest.New(t)
		mistaken(t, m, toska.WithCheck(&mesh.Check{Interval: time.Second, Down: 1}))
		awaitSnapshot(t, tie(t, m), "the probe tells", func(l []*mesh.Instance) bool {
			return len(l) == 1 && l[0].Health == mesh.Failing && l[0].HealthBy == mesh.SourceProbe && strings.Contains(l[0].HealthOutput, "refused")
		})
		eventually(t, "U-3 the gateway answers 503 with a reason", func() bool {
			status, body := ask(t, "GET", m.Gateway()+"/api/orders/x")
			return status == 503 && strings.Contains(body, "TOSKA-UP-NONE") && strings.Contains(body, "1 failing")
		})
	})
	t.Run("without one it is 502 with a reason, at the gateway and for a client", func(t *testing.T) {
		m := toskatest.New(t)
		mistaken(t, m, toska.WithCheck(nil))
		for range 10 { // more than it takes to eject one of several
			status, body := ask(t, "GET", m.Gateway()+"/api/orders/x")
			if status != 502 && status != 503 || !strings.Contains(body, `"code":"TOSKA-UP-`) || !strings.Contains(body, `"detail":"`) {
				t.Fatalf("the gateway answered %d %s", status, body)
			}
		}
		c, err := toska.NewClient(m.Options()...)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		res, err := c.HTTP().Do(request(t, http.MethodGet, "toska://orders/x"))
		if err == nil {
			_ = res.Body.Close()
		}
		if !errors.Is(err, mesh.ErrUnavailable) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("the client = %v, want mesh.ErrUnavailable and that it was refused", err)
		}
	})
	t.Run("beside one that listens nobody notices", func(t *testing.T) {
		m := toskatest.New(t)
		mistaken(t, m, toska.WithCheck(nil))
		m.Join("orders", nil)
		c, err := toska.NewClient(m.Options()...)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		for range 30 {
			if status, body := ask(t, "POST", m.Gateway()+"/api/orders/x"); status != 200 {
				t.Fatalf("the gateway answered %d %s", status, body)
			}
			res, err := c.HTTP().Do(request(t, http.MethodPost, "toska://orders/x"))
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
		}
	})
}

func TestAHealthFunctionThatNeverReturnsTakesTheServiceOutOfRotation(t *testing.T) {
	m := toskatest.New(t)
	release := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(release) }))
	m.Join("orders", nil, toska.WithHealthTimeout(20*time.Millisecond), toska.WithHealth(func(context.Context) error {
		<-release // deaf to its context
		return nil
	}))
	awaitSnapshot(t, tie(t, m), "the service's report tells", func(l []*mesh.Instance) bool {
		return len(l) == 1 && l[0].Health == mesh.Failing && strings.Contains(l[0].HealthOutput, "did not return within 20ms")
	})
	eventually(t, "U-3 the gateway answers 503", func() bool {
		status, body := ask(t, "GET", m.Gateway()+"/api/orders/x")
		return status == 503 && strings.Contains(body, "TOSKA-UP-NONE")
	})
}

// N-18: what a stale source says of an instance that is gone does not bring it back to the gateway; a new
// registration of the same id does.
func TestN18ADeregisteredInstanceStaysGoneUntilItRegistersAnew(t *testing.T) {
	m := toskatest.New(t)
	i := m.Join("orders", nil, toska.WithID("orders-1"))
	d := tie(t, m)
	old := mesh.Ref{ID: i.ID, Incarnation: i.Incarnation}
	if err := d.Deregister(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the gateway has heard", func() bool { status, _ := ask(t, "GET", m.Gateway()+"/api/orders/x"); return status == 404 })
	for name, say := range map[string]func() error{
		"renewal": func() error { return d.Renew(t.Context(), old) },
		"report":  func() error { return d.Report(t.Context(), old, mesh.Report{Health: mesh.Passing}) },
		"drain":   func() error { return d.Drain(t.Context(), old) },
	} {
		if err := say(); !errors.Is(err, mesh.ErrNotFound) {
			t.Errorf("a %s of the instance that is gone = %v, want mesh.ErrNotFound", name, err)
		}
	}
	if status, _ := ask(t, "GET", m.Gateway()+"/api/orders/x"); status != 404 {
		t.Errorf("after them the gateway answered %d, want 404", status)
	}
	young := m.Join("orders", nil, toska.WithID("orders-1"))
	if err := d.Report(t.Context(), old, mesh.Report{Health: mesh.Failing}); !errors.Is(err, mesh.ErrStale) {
		t.Errorf("a report of the old incarnation = %v, want mesh.ErrStale", err)
	}
	if status, _ := ask(t, "GET", m.Gateway()+"/api/orders/x"); status != 200 || young.Incarnation <= i.Incarnation {
		t.Errorf("the new registration: %d, incarnation %d after %d", status, young.Incarnation, i.Incarnation)
	}
}

func request(t *testing.T, method, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// What is wrong is named as whoever set it wrote it.
func TestAWrongOptionIsNamedByItsVariableOrItsOption(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		opts []toska.Option
		want string
	}{
		{"control by the environment", map[string]string{"TOSKA_CONTROL": "10.0.0.1"}, nil, `TOSKA_CONTROL: "10.0.0.1"`},
		{"control by the family's", map[string]string{"MESH_DISCOVERY_ADDRESS": "10.0.0.1"}, nil, `MESH_DISCOVERY_ADDRESS: "10.0.0.1"`},
		{"control by code", map[string]string{"TOSKA_CONTROL": "10.0.0.1"}, []toska.Option{toska.WithControl("x")}, `control: "x"`},
		{"listen by the environment", map[string]string{"PORT": "http"}, nil, `PORT: "http"`},
		{"weight by the environment", map[string]string{"TOSKA_WEIGHT": "0"}, nil, `TOSKA_WEIGHT: "0" is no number from 1 to 1000`},
		{"weight by code, too small", nil, []toska.Option{toska.WithWeight(0)}, `weight: "0" is no number from 1 to 1000`},
		{"weight by code, too big", nil, []toska.Option{toska.WithWeight(1001)}, `weight: "1001"`},
		{"strategy by the environment", map[string]string{"TOSKA_STRATEGY": "fastest"}, nil, `TOSKA_STRATEGY: "fastest" is none of RoundRobin, LeastConnections`},
		{"strategy by code", map[string]string{"TOSKA_STRATEGY": "fastest"}, []toska.Option{toska.WithStrategy("best")}, `strategy: "best"`},
		{"listen by code", map[string]string{"PORT": "http"}, []toska.Option{toska.WithListen("y")}, `listen: "y"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			err := toska.Join(t.Context(), "orders", nil, tt.opts...)
			if !errors.Is(err, mesh.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Join = %v, want mesh.ErrInvalid with %s", err, tt.want)
			}
		})
	}
}
