// Package toskatest is a mesh inside of a test: one node in the test's process, on free ports of the loopback
// address, that keeps nothing on disk and is gone with the test.
//
//	func TestOrders(t *testing.T) {
//		m := toskatest.New(t)
//		m.Join("orders", orders.Handler())
//		res, err := http.Get(m.Gateway() + "/api/orders/list")
//		…
//	}
//
// # Concurrency
//
// A Mesh is safe for concurrent use, but for New and Join, which are called on the test's goroutine as they
// may end it.
package toskatest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
)

const (
	// patience is how long something may take that takes milliseconds.
	patience = 10 * time.Second
	// drainDelay of the instances of a test: the gateway is in the same process.
	drainDelay = 10 * time.Millisecond
	// mourning is how long the end of a test waits for what a killed instance was doing.
	mourning = time.Second
)

// Mesh is a mesh of one node.
type Mesh struct {
	t      testing.TB
	memory *app.Memory

	mu   sync.Mutex // guards what follows
	node *node
	at   map[string]string // the addresses of the node by name, kept across restarts
}

// node is one run of the node.
type node struct {
	app  *app.App
	stop func() error
}

// New starts a mesh and returns when it is ready. It ends with the test, after the instances that joined.
func New(t testing.TB) *Mesh {
	t.Helper()
	m := &Mesh{t: t, memory: app.NewMemory()}
	m.at = map[string]string{"gateway": "127.0.0.1:0", "control": "127.0.0.1:0", "discovery": "127.0.0.1:0"}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Errorf("toskatest: the node: %v", err)
		}
	})
	if err := m.Start(); err != nil {
		t.Fatalf("toskatest: %v", err)
	}
	return m
}

// Start starts the node again after Stop: it has the same addresses, and remembers what was registered.
func (m *Mesh) Start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.node != nil {
		return nil
	}
	cfg := app.DefaultConfig()
	cfg.Memory, cfg.DataDir, cfg.AccessLog = m.memory, "", "off"
	cfg.ListenGateway, cfg.ListenControl, cfg.ListenDiscovery = m.at["gateway"], m.at["control"], m.at["discovery"]
	a, err := app.New(cfg)
	if err != nil {
		return fmt.Errorf("start the node: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan app.Ready, 1)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, func(r app.Ready) { ready <- r }) }()
	stop := func() error {
		cancel()
		return <-ended
	}
	select {
	case r := <-ready:
		m.node, m.at = &node{app: a, stop: stop}, r.Addresses
		return nil
	case err := <-ended:
		cancel()
		return fmt.Errorf("start the node: %w", err)
	case <-time.After(patience):
		return fmt.Errorf("start the node: it is not ready after %v: %w", patience, stop())
	}
}

// Stop stops the node, as if it were restarted. What joined goes on, and comes back when it is started again.
func (m *Mesh) Stop() error {
	m.mu.Lock()
	n := m.node
	m.node = nil
	m.mu.Unlock()
	if n == nil {
		return nil
	}
	return n.stop()
}

// Gateway returns the URL of the gateway, as in http://127.0.0.1:40001: a service is at /api/NAME/ below it.
func (m *Mesh) Gateway() string { return "http://" + m.address("gateway") }

// Control returns the control address, host:port.
func (m *Mesh) Control() string { return m.address("control") }

// Discovery returns the address for clients of the family, host:port.
func (m *Mesh) Discovery() string { return m.address("discovery") }

func (m *Mesh) address(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at[name]
}

// Options tie what a test makes itself to this mesh: toska.NewClient(m.Options()...). They are the control
// address, the token of services, no log and a short drain delay; more goes after them.
func (m *Mesh) Options(more ...toska.Option) []toska.Option {
	return append([]toska.Option{
		toska.WithControl(m.Control()), toska.WithToken(m.memory.ServiceToken()),
		toska.WithLogger(nil), toska.WithDrainDelay(drainDelay),
	}, more...)
}

// Instance is an instance that joined.
type Instance struct {
	mesh.Instance // as it was registered
	ln            *listener
	tie           *tie
	cancel        context.CancelFunc
	ended         chan struct{} // closed when Join has returned
	told          atomic.Bool   // the test has asked how it ended
	err           error         // what it returned; there once ended is closed
}

// URL returns the address of the instance itself, as in http://127.0.0.1:40002.
func (i *Instance) URL() string { return "http://" + i.HostPort() }

// Stop ends the instance in order, as a signal to its process would, and returns what Join returned. It ends
// so with the test, too.
func (i *Instance) Stop() error {
	i.told.Store(true)
	i.cancel()
	<-i.ended
	return i.err
}

// Done is closed when the instance has ended.
func (i *Instance) Done() <-chan struct{} { return i.ended }

// Join serves h as an instance of the service, and returns when the gateway knows it. A nil handler answers
// each request with the instance's id.
func (m *Mesh) Join(service string, h http.Handler, opts ...toska.Option) *Instance {
	m.t.Helper()
	i, err := m.join(service, h, opts)
	if err != nil {
		m.t.Fatalf("toskatest: join %s: %v", service, err)
	}
	return i
}

func (m *Mesh) join(service string, h http.Handler, opts []toska.Option) (*Instance, error) {
	ln, err := listen()
	if err != nil {
		return nil, err
	}
	over, err := toska.NewMesh(m.Options(opts...)...)
	if err != nil {
		return nil, err
	}
	i := &Instance{ln: ln, tie: &tie{Mesh: over, opened: make(chan mesh.Instance, 1)}, ended: make(chan struct{})}
	if h == nil {
		h = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, i.ID) })
	}
	ctx, cancel := context.WithCancel(context.Background())
	i.cancel = cancel
	all := m.Options(append(opts, toska.WithListener(ln), toska.WithDiscovery(i.tie))...)
	m.t.Cleanup(func() {
		if i.ln.killed() {
			i.cancel()
			select {
			case <-i.ended:
			case <-time.After(mourning):
			}
			return
		}
		told := i.told.Load()
		if err := i.Stop(); err != nil && !told {
			m.t.Errorf("toskatest: %s: %v", i.ID, err)
		}
	})
	go func() {
		i.err = toska.Join(ctx, service, h, all...)
		_ = over.Close()
		close(i.ended)
	}()
	select {
	case i.Instance = <-i.tie.opened:
		return i, m.await(i.Instance)
	case <-i.ended:
		i.told.Store(true)
		return nil, fmt.Errorf("it ended before it was registered: %w", i.err)
	case <-time.After(patience):
		return nil, fmt.Errorf("it is not registered after %v", patience)
	}
}

// await waits until the gateway's table has the instance.
func (m *Mesh) await(i mesh.Instance) error {
	m.mu.Lock()
	n := m.node
	m.mu.Unlock()
	if n == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		st, err := n.app.Status(ctx)
		if err == nil && st.Table != nil && !st.Table.Revision.Before(i.Revision) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the gateway does not know it after %v", patience)
		}
	}
}

// Kill ends an instance as a crash would: its connections and its session break, and nobody is told. It does not
// wait for handlers, which a test cannot end as a crash would: Done tells when they are done, or given up after
// the grace.
func (m *Mesh) Kill(i *Instance) {
	_ = i.tie.Close() // nil
	i.ln.kill()
}

// String returns the addresses of the mesh.
func (m *Mesh) String() string {
	return strings.Join([]string{"gateway " + m.address("gateway"), "control " + m.address("control")}, ", ")
}
