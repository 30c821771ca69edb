// Package e2e_test tells the story of a mesh in separate processes: a node, programs that join it, a
// client that reaches them, and what happens when each of them dies.
package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/test/node"
)

// story is one mesh with its directory.
type story struct {
	t       *testing.T
	dir     string
	bin     string
	service string
	node    *node.Node
}

func begin(t *testing.T, args ...string) *story {
	t.Helper()
	s := &story{t: t, dir: shortDir(t)}
	s.bin = build(t, s.dir)
	var err error
	if s.service, err = node.BuildPackage(t.Context(), filepath.Join(s.dir, "bin"), "github.com/toska-mesh/toska-mesh/test/service"); err != nil {
		t.Fatal(err)
	}
	s.up(args...)
	return s
}

// build returns the binary under test. It is not put into dir itself, where a directory of its name is for
// the pointers.
func build(t *testing.T, dir string) string {
	t.Helper()
	bin, err := node.Build(t.Context(), filepath.Join(dir, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// shortDir is a directory whose path is short enough for a socket in it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e") //nolint:usetesting // t.TempDir has the test's name in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (s *story) up(args ...string) {
	s.t.Helper()
	n, err := node.Up(context.WithoutCancel(s.t.Context()), s.bin, s.dir, nil, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.node = n
	s.t.Cleanup(func() {
		if err := n.Stop(10 * time.Second); err != nil && s.node == n {
			s.t.Errorf("the node: %v", err)
		}
		if s.t.Failed() {
			s.t.Logf("the node printed:\n%s", n.Output())
		}
	})
}

// join runs a copy of the test service through toska run, as "web".
func (s *story) join() *node.Process {
	s.t.Helper()
	p, err := node.Start(context.WithoutCancel(s.t.Context()), nil, node.Env(s.dir), s.bin, "run", "--name", "web", "--port", "0", "--", s.service)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = p.Stop(10 * time.Second) // it may have been killed
		if s.t.Failed() {
			s.t.Logf("toska run printed:\n%s", p.Output())
		}
	})
	return p
}

// get returns status and body.
func (s *story) get(path string) (int, string) {
	s.t.Helper()
	return s.ask(http.MethodGet, path)
}

// ask makes a request without a body and returns status and body of the answer.
func (s *story) ask(method, path string) (int, string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.node.Addresses["gateway"]+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// until waits for something to become true.
func (s *story) until(what string, f func() bool) {
	s.t.Helper()
	end := time.Now().Add(15 * time.Second)
	for !f() {
		if time.Now().After(end) {
			s.t.Fatalf("not within 15 s: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// cli runs a command against the node and returns what it printed.
func (s *story) cli(args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), s.bin, args...)
	cmd.Env = append(os.Environ(), node.Env(s.dir)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("toska %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// answering returns the processes that answer for web, as many requests as are asked.
func (s *story) answering(n int) map[string]int {
	pids := map[string]int{}
	for range n {
		status, body := s.get("/api/web/who")
		if status != http.StatusOK {
			pids[fmt.Sprintf("%d %s", status, body)]++
			continue
		}
		pid, _, _ := strings.Cut(body, " ")
		pids[pid]++
	}
	return pids
}

func TestAProgramJoinsIsReachedDiesAndTrafficMovesOn(t *testing.T) {
	s := begin(t)
	if status, body := s.get("/api/web/"); status != http.StatusNotFound || !strings.Contains(body, "TOSKA-ROUTE-NONE") {
		t.Errorf("before anything joined: %d %s", status, body)
	}
	first := s.join()
	s.until("the first answers", func() bool { status, _ := s.get("/api/web/"); return status == http.StatusOK })
	s.join()
	s.until("both answer", func() bool { return len(s.answering(20)) == 2 })

	first.Kill()
	s.until("only the second answers", func() bool {
		seen := s.answering(20)
		return len(seen) == 1 && !slices.ContainsFunc(keys(seen), func(k string) bool { return strings.Contains(k, " ") })
	})
	if out := s.cli("services"); !strings.Contains(out, "web") {
		t.Errorf("services printed:\n%s", out)
	}
}

func TestAKilledNodeComesBackWithAllThatItAcknowledged(t *testing.T) {
	s := begin(t)
	s.join()
	s.until("the program answers", func() bool { status, _ := s.get("/api/web/"); return status == http.StatusOK })
	disco := discoveryapi.NewClient(s.node.Addresses["control"], s.node.ServiceToken)
	for i := range 50 {
		if _, err := disco.Register(t.Context(), mesh.Registration{
			Service: "kept", ID: fmt.Sprintf("kept-%d", i), Address: "127.0.0.1", Port: 9, Lifetime: mesh.Permanent,
		}); err != nil {
			t.Fatal(err)
		}
	}
	disco.Close()
	control := s.node.Addresses["control"]
	killed := s.node
	s.node = nil
	killed.Kill()
	// The same control port, so that the program finds the node again by the address that it knows.
	s.up("--listen-control", control)
	status, body := s.get("/api/web/")
	if status != http.StatusOK {
		t.Errorf("first request after the start: %d %s", status, body)
	}
	var list struct {
		Services []struct {
			Name      string            `json:"name"`
			Instances []json.RawMessage `json:"instances"`
		} `json:"services"`
	}
	out := s.cli("services", "--json")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("services --json: %v\n%s", err, out)
	}
	counts := map[string]int{}
	for _, svc := range list.Services {
		counts[svc.Name] = len(svc.Instances)
	}
	if counts["kept"] != 50 || counts["web"] != 1 {
		t.Errorf("after the restart there are %v, want 50 kept and 1 web", counts)
	}
}

func TestAWebSocketOutlivesUnrelatedRegistrations(t *testing.T) {
	s := begin(t)
	s.join()
	s.until("the program answers", func() bool { status, _ := s.get("/api/web/"); return status == http.StatusOK })
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", s.node.Addresses["gateway"])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET /api/web/ws HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %v %v", resp, err)
	}
	for i := range 10 {
		s.cli("register", "--name", fmt.Sprintf("other-%d", i), "--address", "127.0.0.1", "--port", "9")
		text := fmt.Sprintf("message %d", i)
		if _, err := c.Write(append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)); err != nil { // masked with zeros
			t.Fatal(err)
		}
		got := make([]byte, 2+len(text))
		if _, err := io.ReadFull(br, got); err != nil || string(got[2:]) != text {
			t.Fatalf("echo %q %v, want %q", got, err, text)
		}
	}
}

func keys(m map[string]int) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}
