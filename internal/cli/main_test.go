package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/cli"
	"github.com/toska-mesh/toska-mesh/internal/cli/child"
	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// The test binary is also the watchdog of toska run, and the program that it runs.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "run-watchdog" {
		fmt.Fprintln(os.Stderr, child.Watch(os.Stdin, os.Stdout))
		os.Exit(1)
	}
	if os.Getenv("CLI_TEST_SERVE") != "" {
		handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") })
		fmt.Fprintln(os.Stderr, http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), handler))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// world is what a command sees and says in a test.
type world struct {
	env    map[string]string
	living []pointer.Pointer
	lives  func() []pointer.Pointer // instead of living, if it is there
	client *client
	// elsewhere are the nodes at other addresses.
	elsewhere map[string]*client
	dialed    []string // "control token"
	machine

	stdout, stderr buffer
}

func newWorld() *world {
	return &world{env: map[string]string{}, client: &client{}, living: []pointer.Pointer{node("a", 5010)}, machine: soundMachine()}
}

func node(name string, control int) pointer.Pointer {
	return pointer.Pointer{DataDir: "/data/" + name, AdminToken: name + "-admin", ServiceToken: name + "-service",
		Addresses: map[string]string{"control": fmt.Sprintf("127.0.0.1:%d", control), "gateway": fmt.Sprintf("0.0.0.0:%d", control-10)}}
}

func (w *world) run(ctx context.Context, args ...string) int {
	return cli.Main(ctx, cli.Env{
		Args: args, Stdin: strings.NewReader(""), Stdout: &w.stdout, Stderr: &w.stderr,
		Getenv: func(key string) string { return w.env[key] },
		Living: func(context.Context) ([]pointer.Pointer, error) {
			if w.lives != nil {
				return w.lives(), nil
			}
			return w.living, nil
		},
		Connect: func(control, token string) cli.Client {
			w.dialed = append(w.dialed, control+" "+token)
			if c := w.elsewhere[control]; c != nil {
				return c
			}
			return w.client
		},
		Machine: w.machine,
		Exit:    func(int) {},
	})
}

// buffer is written by a command while a test reads it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { b.mu.Lock(); defer b.mu.Unlock(); return b.b.Write(p) }
func (b *buffer) String() string              { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

// client is a node that answers as it is told.
type client struct {
	mesh.Discovery // nil: what a test does not expect panics

	mu         sync.Mutex // guards what follows
	err        error
	snapshots  []*mesh.Snapshot
	status     mesh.Status
	routes     []mesh.RouteStatus
	upstreams  []mesh.UpstreamStatus
	probes     []mesh.ProbeStatus // nil for a node that makes none
	registered []mesh.Registration
	sessions   []*session
	drained    []mesh.Ref
	removed    []mesh.Ref
}

func (c *client) Close() {}

func (c *client) Upstreams(context.Context, string) ([]mesh.UpstreamStatus, error) {
	if c.upstreams == nil {
		return nil, mesh.ErrUnavailable
	}
	return c.upstreams, nil
}

func (c *client) Status(context.Context) (mesh.Status, error) { return c.status, c.err }

func (c *client) Probes(context.Context, string) ([]mesh.ProbeStatus, error) {
	if c.probes == nil {
		return nil, mesh.ErrUnavailable
	}
	return c.probes, c.err
}

func (c *client) Snapshot(context.Context) (*mesh.Snapshot, error) {
	if c.err != nil {
		return nil, c.err
	}
	if len(c.snapshots) == 0 {
		return &mesh.Snapshot{}, nil
	}
	return c.snapshots[0], nil
}

func (c *client) Watch(context.Context, mesh.Revision) iter.Seq2[*mesh.Snapshot, error] {
	return func(yield func(*mesh.Snapshot, error) bool) {
		for _, s := range c.snapshots {
			if !yield(s, nil) {
				return
			}
		}
		if c.err != nil {
			yield(nil, c.err)
		}
	}
}

func (c *client) Register(_ context.Context, r mesh.Registration) (mesh.Instance, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.registered = append(c.registered, r)
	return mesh.Instance{ID: "made-1", Service: r.Service, Address: r.Address, Port: r.Port}, c.err
}

func (c *client) Open(_ context.Context, r mesh.Registration, _ uint64) (mesh.Session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	c.registered = append(c.registered, r)
	s := &session{instance: mesh.Instance{ID: r.ID, Service: r.Service, Incarnation: 1}, done: make(chan struct{})}
	c.sessions = append(c.sessions, s)
	return s, nil
}

func (c *client) Drain(_ context.Context, ref mesh.Ref) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drained = append(c.drained, ref)
	return c.err
}

func (c *client) Deregister(_ context.Context, ref mesh.Ref) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removed = append(c.removed, ref)
	return c.err
}

type session struct {
	instance mesh.Instance
	done     chan struct{}
	err      error // set before done is closed
}

func (s *session) Instance() mesh.Instance                   { return s.instance }
func (s *session) Renew(context.Context) error               { return nil }
func (s *session) Report(context.Context, mesh.Report) error { return nil }
func (s *session) Done() <-chan struct{}                     { return s.done }
func (s *session) Err() error                                { return s.err }
func (s *session) Close(bool)                                {}

func snapshot(number uint64, list ...*mesh.Instance) *mesh.Snapshot {
	s := &mesh.Snapshot{Revision: mesh.Revision{Epoch: 1, Number: number}, Services: map[string][]*mesh.Instance{}}
	for _, i := range list {
		key := mesh.ServiceKey(i.Service)
		s.Services[key] = append(s.Services[key], i)
	}
	return s
}

// expect compares an exit code and what was said.
func (w *world) expect(t *testing.T, code, want int, says ...string) {
	t.Helper()
	if code != want {
		t.Errorf("exit code = %d, want %d", code, want)
	}
	for _, s := range says {
		if !strings.Contains(w.stdout.String()+w.stderr.String(), s) {
			t.Errorf("nothing says %q", s)
		}
	}
	if t.Failed() {
		t.Logf("stdout:\n%s\nstderr:\n%s", w.stdout.String(), w.stderr.String())
	}
}
