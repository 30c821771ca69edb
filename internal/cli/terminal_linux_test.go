package cli_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/toska-mesh/toska-mesh/internal/cli"
	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestServicesOnATerminalIsATable(t *testing.T) {
	w := newWorld()
	w.client.snapshots = []*mesh.Snapshot{snapshot(1,
		&mesh.Instance{Service: "web", ID: "w1", Address: "10.0.0.1", Port: 80, Metadata: map[string]string{"weight": "3"}},
		&mesh.Instance{Service: "web", ID: "w2\x1b[2J", Address: "10.0.0.2", Port: 8080, Health: mesh.Failing, Draining: true},
		&mesh.Instance{Service: "web", ID: "w3", Address: "10.0.0.3", Port: 80, Health: mesh.Suspect})}
	w.client.snapshots[0].Stale = true
	out, code := w.onTerminal(t, "", "services")
	w.expect(t, code, 0)
	for _, s := range []string{"SERVICE", "10.0.0.2:8080", "\x1b[31mfailing\x1b[0m", "\x1b[33mdraining", "w2?[2J", `weight="3"`, "cannot reach its store"} {
		if !strings.Contains(out, s) {
			t.Errorf("the table does not show %q:\n%s", s, out)
		}
	}
	w.env["NO_COLOR"] = "1"
	if out, _ := w.onTerminal(t, "", "services"); strings.Contains(out, "\x1b[") {
		t.Errorf("colours in spite of NO_COLOR:\n%q", out)
	}
	w.client.err = mesh.ErrForbidden
	if out, _ := w.onTerminal(t, "", "services", "-w"); !strings.HasPrefix(out, "\x1b[H\x1b[2J") {
		t.Errorf("watch does not redraw:\n%q", out)
	}
	w.client.snapshots = append(w.client.snapshots, snapshot(2))
	if out, _ := w.onTerminal(t, "", "services", "-w"); strings.Contains(out, "+ web") || !strings.Contains(out, " - web w1: deregistered; it was passing\n") {
		t.Errorf("watch does not tell the last changes below the table:\n%q", out)
	}
	if out, _ := newWorld().onTerminal(t, "", "services"); !strings.Contains(out, "no services yet") {
		t.Errorf("an empty mesh says %q", out)
	}
}

func TestCommandsAskATerminalWhichNode(t *testing.T) {
	w := newWorld()
	w.living = append(w.living, node("b", 6010))
	out, code := w.onTerminal(t, "2\n", "drain", "x")
	w.expect(t, code, 0)
	if !strings.Contains(out, "which one? [1-2]") || len(w.dialed) != 1 || w.dialed[0] != "127.0.0.1:6010 b-admin" {
		t.Errorf("asked %q and dialed %v, want the second", out, w.dialed)
	}
	_, code = w.onTerminal(t, "7\n", "drain", "x")
	w.expect(t, code, 3)
}

func TestRegisterOnATerminalSaysHowToUndoIt(t *testing.T) {
	out, _ := newWorld().onTerminal(t, "", "register", "--name", "x", "--address", "10.0.0.1", "--port", "80")
	if !strings.Contains(out, "toska deregister made-1") {
		t.Errorf("register says %q", out)
	}
}

func TestUpGreetsATerminal(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	for _, first := range []bool{true, false} {
		w := newWorld()
		ctx, cancel := context.WithCancel(t.Context())
		w.env["TERM"] = "dumb"
		tty := openTerminal(t)
		result := make(chan int, 1)
		go func() {
			env := w.terminal(tty, "up", "--data", dir+"/data", "--ready-file", dir+"/ready", "--log-level", "error", "--listen-gateway", "127.0.0.1:0",
				"--listen-control", "127.0.0.1:0", "--listen-discovery", "127.0.0.1:0")
			result <- cli.Main(ctx, env)
		}()
		var p pointer.Pointer
		await(t, func() bool {
			var err error
			p, err = pointer.ReadFile(dir + "/ready")
			return err == nil && strings.Contains(tty.said.String(), "Ctrl-C")
		})
		cancel()
		if code := <-result; code != 0 {
			t.Errorf("exit code = %d", code)
		}
		out := tty.said.String()
		for _, s := range []string{"is ready", "gateway     http://" + p.Addresses["gateway"], "run --name web", "curl http://" + p.Addresses["gateway"] + "/api/web/"} {
			if !strings.Contains(out, s) {
				t.Errorf("the banner does not say %q:\n%s", s, out)
			}
		}
		if got := strings.Contains(out, p.AdminToken); got != first {
			t.Errorf("admin token shown = %v, want %v:\n%s", got, first, out)
		}
	}
}

// terminal is a pseudo terminal: what is typed into master is read from tty.
type terminal struct {
	master, tty *os.File
	said        buffer
	closed      chan struct{}
}

func openTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{master: master, tty: tty, closed: make(chan struct{})}
	go func() {
		defer close(term.closed)
		_, _ = io.Copy(&term.said, master) // ends with an error when the terminal is closed
	}()
	t.Cleanup(term.close)
	return term
}

func (p *terminal) close() {
	if p.tty == nil {
		return
	}
	_ = p.tty.Close()
	p.tty = nil
	<-p.closed
	_ = p.master.Close()
}

func (w *world) terminal(p *terminal, args ...string) cli.Env {
	return cli.Env{Args: args, Stdin: p.tty, Stdout: p.tty, Stderr: p.tty,
		Getenv: func(key string) string { return w.env[key] },
		Living: func(context.Context) ([]pointer.Pointer, error) { return w.living, nil },
		Connect: func(control, token string) cli.Client {
			w.dialed = append(w.dialed, control+" "+token)
			return w.client
		},
		Exit: func(int) {}}
}

// onTerminal runs a command whose user types input, and returns what the terminal shows.
func (w *world) onTerminal(t *testing.T, input string, args ...string) (string, int) {
	t.Helper()
	p := openTerminal(t)
	if _, err := io.WriteString(p.master, input); err != nil {
		t.Fatal(err)
	}
	code := cli.Main(t.Context(), w.terminal(p, args...))
	p.close()
	return strings.ReplaceAll(p.said.String(), "\r\n", "\n"), code
}

func TestManyBadObjectsFitATerminal(t *testing.T) {
	w := newWorld()
	w.client.routes = append(w.client.routes, mesh.RouteStatus{Name: "good", Path: "/…", Service: "web", Origin: "mesh.yaml:2:5", State: mesh.RouteInForce})
	for i := range 10_000 {
		w.client.routes = append(w.client.routes, mesh.RouteStatus{Name: fmt.Sprintf("bad-%d", i), Origin: fmt.Sprintf("mesh.yaml:%d:5", i+3),
			State: mesh.RouteQuarantined, Reason: "has no to, which every route needs"})
	}
	t.Run("U-9 routes tells the reasons of the first and counts the others", func(t *testing.T) {
		out, code := w.onTerminal(t, "", "routes")
		w.expect(t, code, 0)
		if n := strings.Count(out, " is quarantined: "); n != 10 || !strings.Contains(out, "and 9990 quarantined routes more") {
			t.Errorf("%d reasons, want 10; it ends with %q", n, out[max(0, len(out)-200):])
		}
	})
	w.client.status.Alarms = make([]mesh.Alarm, 21)
	t.Run("U-9 status tells of the first and counts the others", func(t *testing.T) {
		out, code := w.onTerminal(t, "", "status")
		w.expect(t, code, 0)
		if n := strings.Count(out, "\n"); n > 40 || !strings.Contains(out, "and 16 alarms more") {
			t.Errorf("%d lines, want one screen that counts the rest: %s", n, out)
		}
	})
}
