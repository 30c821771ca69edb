package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/test/node"
)

// examples are the programs of examples/, built and beside a node.
type examples struct {
	*story
	programs string // the directory that they are in
}

// in is the same for one part of the story.
func (e *examples) in(t *testing.T) *examples {
	t.Helper()
	s := *e.story
	s.t = t
	return &examples{&s, e.programs}
}

// TestTheExamplesBesideARealNode runs each example as its user does, calls it, and kills it.
func TestTheExamplesBesideARealNode(t *testing.T) {
	s := begin(t, "--access-log", "off")
	e := &examples{s, filepath.Join(s.dir, "examples")}
	if err := os.Mkdir(e.programs, 0o700); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", e.programs+string(filepath.Separator), "../../examples/...")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the examples: %v\n%s", err, out)
	}
	for _, tt := range []struct {
		name string
		tell func(*examples)
	}{
		{"hello joins, leaves in order, joins again and dies", (*examples).hello},
		{"of two hellos with one id the newer one is the instance, and the older one says so", (*examples).twins},
		{"adder calls hello by its name", (*examples).adder},
		{"the gRPC client finds the servers", (*examples).grpc},
		{"web is any program", (*examples).web},
		{"wsecho takes WebSockets through the gateway", (*examples).wsecho},
		{"family joins by the earlier projects' proto", (*examples).family},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.tell(e.in(t)) })
	}
}

// run starts an example.
func (e *examples) run(name string, env ...string) *node.Process {
	e.t.Helper()
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return e.program(env, filepath.Join(e.programs, name))
}

// program starts a program that finds this node and no other.
func (e *examples) program(env []string, name string, args ...string) *node.Process {
	e.t.Helper()
	p, err := node.Start(context.WithoutCancel(e.t.Context()), nil, append(node.Env(e.dir), env...), name, args...)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		p.Kill()
		if e.t.Failed() {
			e.t.Logf("%s printed:\n%s", filepath.Base(name), p.Output())
		}
	})
	return p
}

// answers waits until a GET through the gateway has this status, and this in its body.
func (e *examples) answers(path string, status int, part string) {
	e.t.Helper()
	var got int
	var body string
	defer func() {
		if e.t.Failed() {
			e.t.Logf("%s answered %d %s", path, got, body)
		}
	}()
	e.until(path+" answers "+http.StatusText(status)+" with "+part, func() bool {
		got, body = e.get(path)
		return got == status && strings.Contains(body, part)
	})
}

// dies kills a program and waits until the gateway says that nothing is left of its service.
func (e *examples) dies(p *node.Process, path string) {
	e.t.Helper()
	p.Kill()
	killed := time.Now()
	e.answers(path, http.StatusServiceUnavailable, "TOSKA-UP-NONE")
	if took := time.Since(killed); took > time.Second {
		e.t.Errorf("out of rotation %v after its end, want less than 1s", took)
	}
}

func (e *examples) hello() {
	p := e.greeter("Ada")
	if runtime.GOOS != "windows" { // where there is no signal to end in order
		if err := p.Stop(10 * time.Second); err != nil {
			e.t.Errorf("hello ended with %v", err)
		}
		e.answers("/api/hello/", http.StatusNotFound, "TOSKA-ROUTE-NONE")
		p = e.greeter("Grace")
	}
	e.dies(p, "/api/hello/")
}

// greeter starts hello, and waits until it greets.
func (e *examples) greeter(name string) *node.Process {
	e.t.Helper()
	p := e.run("hello")
	e.answers("/api/hello/?name="+name, http.StatusOK, "Hello, "+name+"!\n")
	return p
}

func (e *examples) twins() {
	older := e.run("hello", "TOSKA_ID=twin")
	e.until("the older one is registered", func() bool { return strings.Contains(older.Output(), "instance registered") })
	newer := e.run("hello", "TOSKA_ID=twin")
	select {
	case <-older.Done():
	case <-time.After(10 * time.Second):
		e.t.Fatal("the older one does not end")
	}
	if out := older.Output(); !strings.Contains(out, "twin") || !strings.Contains(out, "another") {
		e.t.Errorf("the older one says\n%s", out)
	}
	e.answers("/api/hello/?name=Ada", http.StatusOK, "Hello, Ada!\n")
	e.dies(newer, "/api/hello/")
}

func (e *examples) adder() {
	greeter := e.greeter("Ada")
	adder := e.run("adder")
	const sum = "/api/adder/add?a=1&b=2"
	e.answers(sum, http.StatusOK, "Hello, 3!\n")
	greeter.Kill()
	e.answers(sum, http.StatusBadGateway, "toska://hello/")
	e.greeter("Grace")
	e.answers(sum, http.StatusOK, "Hello, 3!\n")
	e.dies(adder, sum)
}

func (e *examples) grpc() {
	first, second := e.run("server"), e.run("server")
	at := func(p *node.Process) string {
		var address string
		e.until("a gRPC server is registered", func() bool {
			_, after, ok := strings.Cut(p.Output(), "instance registered")
			_, after, _ = strings.Cut(after, "endpoint=")
			address, _, _ = strings.Cut(after, "\n")
			return ok && address != ""
		})
		return "from " + address
	}
	both := []string{at(first), at(second)}
	client := e.run("client")
	said := func(part string) func() bool {
		before := len(client.Output())
		return func() bool { return strings.Contains(client.Output()[before:], part) }
	}
	for _, one := range both {
		e.until("the client is answered "+one, said("SERVING "+one))
	}
	first.Kill()
	// What was under way at the moment of the death may be missing; nothing after it is.
	e.until("the other one answers", said("SERVING "+both[1]))
	since := len(client.Output())
	e.until("three more answers", func() bool { return strings.Count(client.Output()[since:], "SERVING") >= 3 })
	if out := client.Output()[since:]; strings.Contains(out, both[0]) || strings.Contains(out, "code =") {
		e.t.Errorf("after the death of %s the client printed\n%s", both[0], out)
	}
	second.Kill()
	e.until("the client says that none is left", said("Unavailable"))
	third := e.run("server")
	e.until("a new server is found", said("SERVING "+at(third)))
}

func (e *examples) web() {
	if runtime.GOOS == "windows" {
		e.t.Skip("run.sh wants a shell")
	}
	if _, err := exec.LookPath("python3"); err != nil {
		e.t.Skip("it is Python's web server: install python3")
	}
	path := filepath.Join(e.dir, "path")
	if err := os.Mkdir(path, 0o700); err != nil {
		e.t.Fatal(err)
	}
	bin, err := filepath.Abs(e.bin)
	if err == nil {
		err = os.Symlink(bin, filepath.Join(path, "toska"))
	}
	if err != nil {
		e.t.Fatal(err)
	}
	env := []string{"PATH=" + path + string(os.PathListSeparator) + os.Getenv("PATH")}
	script := filepath.Join("..", "..", "examples", "web", "run.sh")
	p := e.program(env, script, filepath.Dir(script))
	e.answers("/api/web/README.md", http.StatusOK, "# A program in any language")
	e.dies(p, "/api/web/")
}

func (e *examples) wsecho() {
	p := e.run("wsecho")
	e.answers("/api/wsecho/", http.StatusUpgradeRequired, "WebSocket")
	var d net.Dialer
	conn, err := d.DialContext(e.t.Context(), "tcp", e.node.Addresses["gateway"])
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		e.t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET /api/wsecho/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n") // a failure shows in the answer
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		e.t.Fatalf("the handshake is answered %v, %v", res, err)
	}
	// A text of five bytes, masked with zeros; it comes back without a mask.
	if _, err := io.WriteString(conn, "\x81\x85\x00\x00\x00\x00hello"); err != nil {
		e.t.Fatal(err)
	}
	got := make([]byte, 7)
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, []byte("\x81\x05hello")) {
		e.t.Fatalf("the echo is %q, %v", got, err)
	}
	e.dies(p, "/api/wsecho/")
	if _, err := r.ReadByte(); err == nil {
		e.t.Error("the WebSocket of a dead service is still open")
	}
}

func (e *examples) family() {
	p := e.run("family", "MESH_DISCOVERY_ADDRESS="+e.node.Addresses["discovery"])
	e.answers("/api/family/", http.StatusOK, "hello from the family\n")
	// Nobody holds a session for it: until its lease lapses, only the gateway's own attempts tell.
	p.Kill()
	e.answers("/api/family/", http.StatusBadGateway, "TOSKA-UP-CONN-REFUSED")
}
