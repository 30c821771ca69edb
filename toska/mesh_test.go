package toska_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
	"github.com/toska-mesh/toska-mesh/internal/util/filelock"
	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
	"github.com/toska-mesh/toska-mesh/toska/toskatest"
)

// network is nodes that answer, each with an error or none, and what was asked of them.
type network struct {
	mu     sync.Mutex // guards what follows
	fails  map[string]error
	asked  []string
	closed []string
}

func (n *network) connect(node toska.Node) toska.Connection { return &link{of: n, at: node.Control} }

func (n *network) ask(at string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, at)
	return n.fails[at]
}

func (n *network) set(at string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fails[at] = err
}

// link is a connection to a node of the network.
type link struct {
	mesh.Discovery
	of *network
	at string
}

func (l *link) Close() {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.of.closed = append(l.of.closed, l.at)
}

func (l *link) Drain(context.Context, mesh.Ref) error { return l.of.ask(l.at) }
func (l *link) Register(context.Context, mesh.Registration) (mesh.Instance, error) {
	return mesh.Instance{}, l.of.ask(l.at)
}

func (l *link) Open(context.Context, mesh.Registration, uint64) (mesh.Session, error) {
	if err := l.of.ask(l.at); err != nil {
		return nil, err
	}
	return &session{done: make(chan struct{})}, nil
}

func (l *link) Watch(context.Context, mesh.Revision) iter.Seq2[*mesh.Snapshot, error] {
	return func(yield func(*mesh.Snapshot, error) bool) {
		if err := l.of.ask(l.at); err != nil {
			yield(nil, err)
			return
		}
		yield(&mesh.Snapshot{Services: map[string][]*mesh.Instance{"web": {{ID: "w"}}, "orders": {{ID: "o"}}}}, nil)
	}
}

// overNetwork returns a Mesh over nodes a, b and so on.
func overNetwork(t *testing.T, n *network, nodes ...string) *toska.Mesh {
	t.Helper()
	m, err := toska.NewMesh(toska.WithConnector(n.connect), toska.WithLogger(nil),
		toska.WithLocator(func(context.Context, toska.Node) ([]toska.Node, error) {
			list := make([]toska.Node, len(nodes))
			for i, at := range nodes {
				list[i].Control = at
			}
			return list, nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func TestACallGoesToTheNextNodeWhenOneDoesNotAnswer(t *testing.T) {
	away := fmt.Errorf("a is away: %w", mesh.ErrUnavailable)
	drain := func(m *toska.Mesh) error { return m.Drain(context.Background(), mesh.Ref{ID: "x"}) }
	for _, tt := range []struct {
		name  string
		fails map[string]error
		call  func(*toska.Mesh) error
		asked string
		kind  error
	}{
		{"one that answers is enough", nil, drain, "a", nil},
		{"the next one when it is away", map[string]error{"a": away}, drain, "a b", nil},
		{"each once when all are away", map[string]error{"a": away, "b": away, "c": away}, drain, "a b c", mesh.ErrUnavailable},
		{"none after a refusal", map[string]error{"a": mesh.ErrForbidden}, drain, "a", mesh.ErrForbidden},
		{"another one may know the token", map[string]error{"a": mesh.ErrUnauthenticated}, drain, "a b", nil},
		{"none for a registration that may have been made", map[string]error{"a": away}, func(m *toska.Mesh) error {
			_, err := m.Register(context.Background(), mesh.Registration{Service: "web"})
			return err
		}, "a", mesh.ErrUnavailable},
		{"the next one for a registration with an id", map[string]error{"a": away}, func(m *toska.Mesh) error {
			_, err := m.Register(context.Background(), mesh.Registration{Service: "web", ID: "web-1"})
			return err
		}, "a b", nil},
		{"none for a session, whose keeper tries again", map[string]error{"a": away}, func(m *toska.Mesh) error {
			_, err := m.Open(context.Background(), mesh.Registration{}, 0)
			return err
		}, "a", mesh.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := &network{fails: tt.fails}
			err := tt.call(overNetwork(t, n, "a", "b", "c"))
			if got := strings.Join(n.asked, " "); got != tt.asked || !errors.Is(err, tt.kind) || (err == nil) != (tt.kind == nil) {
				t.Errorf("asked %q and got %v, want %q and %v", got, err, tt.asked, tt.kind)
			}
		})
	}
}

func TestWhatUsesANodeStaysWhenOthersLeaveIt(t *testing.T) {
	n := &network{fails: map[string]error{}}
	m := overNetwork(t, n, "a", "b")
	s, err := m.Open(t.Context(), mesh.Registration{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	n.set("a", mesh.ErrUnavailable)
	if err := m.Drain(t.Context(), mesh.Ref{}); err != nil {
		t.Fatal(err)
	}
	if len(n.closed) != 0 {
		t.Errorf("closed %v although a session uses it", n.closed)
	}
	if node, ok := m.Node(); !ok || node.Control != "b" {
		t.Errorf("Node = %v, %v, want b", node, ok)
	}
	s.Close(true)
	s.Close(true)
	if !slices.Equal(n.closed, []string{"a"}) {
		t.Errorf("closed %v, want a once its session is", n.closed)
	}
	if err := m.Close(); err != nil || !slices.Equal(n.closed, []string{"a", "b"}) {
		t.Errorf("after Close, closed %v, %v, want b as well", n.closed, err)
	}
	if err := m.Drain(t.Context(), mesh.Ref{}); !errors.Is(err, mesh.ErrUnavailable) {
		t.Errorf("a call after Close: %v, want mesh.ErrUnavailable", err)
	}
}

func TestAWatchEndsWithItsNodeAndTheNextOneGoesElsewhere(t *testing.T) {
	n := &network{fails: map[string]error{"a": mesh.ErrUnavailable}}
	m := overNetwork(t, n, "a", "b")
	for range 2 {
		for s, err := range m.WatchService(t.Context(), "Web", mesh.Revision{}) {
			if err == nil && (len(s.Services) != 1 || s.Services["web"][0].ID != "w") {
				t.Errorf("a watch of web yields %v", s.Services)
			}
		}
	}
	if diff := cmp.Diff([]string{"a", "b"}, n.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestAMeshGoesFromAnAddressWithoutANodeToOneWithANode(t *testing.T) {
	node := toskatest.New(t)
	for k, v := range map[string]string{"TOSKA_CONTROL": "127.0.0.1:1, " + node.Control(), "MESH_DISCOVERY_ADDRESS": "ignored"} {
		t.Setenv(k, v)
	}
	m, err := toska.NewMesh()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	if s, err := m.Snapshot(t.Context()); err != nil || s.Instances() != 0 {
		t.Errorf("Snapshot = %v, %v", s, err)
	}
}

// published leaves the pointer of a node of this user that listens at addr.
func published(t *testing.T, dir, addr string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(dir, filelock.Name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	if err := filelock.Lock(lock); err != nil && !errors.Is(err, filelock.ErrLocked) {
		t.Fatal(err)
	}
	if _, err := pointer.Publish(pointer.Pointer{PID: os.Getpid(), DataDir: dir, AdminToken: "a", ServiceToken: "s",
		Addresses: map[string]string{"control": addr, "discovery": "127.0.0.1:4"}}); err != nil {
		t.Fatal(err)
	}
}

// user makes this process one of a user without nodes.
func user(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for _, k := range []string{"XDG_RUNTIME_DIR", "LocalAppData"} {
		t.Setenv(k, dir)
	}
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	for _, k := range []string{"TOSKA_CONTROL", "TOSKA_TOKEN", "TOSKA_TOKEN_FILE", "MESH_DISCOVERY_ADDRESS"} {
		t.Setenv(k, "")
	}
}

func listening(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().String()
}

// dialled returns a Mesh by the environment, and what it connects to.
func dialled(t *testing.T) (*toska.Mesh, *[]toska.Node) {
	t.Helper()
	var nodes []toska.Node
	n := &network{fails: map[string]error{}}
	m, err := toska.NewMesh(toska.WithLogger(nil), toska.WithConnector(func(node toska.Node) toska.Connection {
		nodes = append(nodes, node)
		n.set(node.Control, mesh.ErrUnavailable)
		return n.connect(node)
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m, &nodes
}

func TestAProgramFindsTheNodeOfItsUser(t *testing.T) {
	user(t)
	m, nodes := dialled(t)
	err := m.Drain(t.Context(), mesh.Ref{})
	if !errors.Is(err, mesh.ErrUnavailable) || !strings.Contains(err.Error(), "toska up") {
		t.Errorf("without a node: %v", err)
	}
	dir := t.TempDir()
	a := filepath.Join(dir, "a")
	first, second := listening(t), listening(t)
	published(t, a, first)
	if _, err := m.Open(t.Context(), mesh.Registration{}, 0); err == nil {
		t.Fatal("a fake answers")
	}
	published(t, a, second) // it came back on other ports
	published(t, filepath.Join(dir, "b"), listening(t))
	if _, err := m.Open(t.Context(), mesh.Registration{}, 0); err == nil {
		t.Fatal("a fake answers")
	}
	want := []toska.Node{{Control: first, Token: "s", DataDir: a}, {Control: second, Token: "s", DataDir: a}}
	if diff := cmp.Diff(want, *nodes); diff != "" {
		t.Errorf("connected to (-want +got):\n%s", diff)
	}
	fresh, _ := dialled(t)
	err = fresh.Drain(t.Context(), mesh.Ref{})
	if !errors.Is(err, mesh.ErrInvalid) || !strings.Contains(err.Error(), "TOSKA_CONTROL") || !strings.Contains(err.Error(), second) {
		t.Errorf("with two nodes: %v, want an error that lists them", err)
	}
}

func TestTheEnvironmentNamesNodesAndTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		env  map[string]string
		want []toska.Node // as they are connected to
		says string
	}{
		{"an address and a token", map[string]string{"TOSKA_CONTROL": "http://h:1/", "TOSKA_TOKEN": "t"}, []toska.Node{{Control: "h:1", Token: "t"}}, ""},
		{"several addresses", map[string]string{"TOSKA_CONTROL": "h:1,i:2", "TOSKA_TOKEN": "t"}, []toska.Node{{Control: "h:1", Token: "t"}, {Control: "i:2", Token: "t"}}, ""},
		{"a token from a file", map[string]string{"TOSKA_CONTROL": "h:1", "TOSKA_TOKEN_FILE": file}, []toska.Node{{Control: "h:1", Token: "from-file"}}, ""},
		{"a file that is not there", map[string]string{"TOSKA_CONTROL": "h:1", "TOSKA_TOKEN_FILE": file + "x"}, nil, "read the token"},
		{"the family's address", map[string]string{"MESH_DISCOVERY_ADDRESS": "h:1", "TOSKA_TOKEN": "t"}, []toska.Node{{Control: "h:1", Token: "t"}}, ""},
		{"the family's address of this user's node", map[string]string{"MESH_DISCOVERY_ADDRESS": "localhost:4"}, []toska.Node{{Control: "LIVING", Token: "s"}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			user(t)
			living := listening(t)
			published(t, t.TempDir(), living)
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			m, nodes := dialled(t)
			err := m.Drain(t.Context(), mesh.Ref{})
			if !errors.Is(err, mesh.ErrUnavailable) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Drain = %v", err)
			}
			for i := range tt.want {
				tt.want[i].Control = strings.ReplaceAll(tt.want[i].Control, "LIVING", living)
			}
			got := *nodes
			if len(got) > len(tt.want) {
				got = got[:len(tt.want)] // one address is tried twice
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("connected to (-want +got):\n%s", diff)
			}
		})
	}
}
