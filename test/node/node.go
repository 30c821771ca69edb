// Package node runs the real binary for tests and measurements: a node, and programs that join it.
//
// # Concurrency
//
// A Process may be signalled and waited for from several goroutines.
package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
)

// Build returns the path of the binary under test: TOSKA_BIN if that is set, else it is built into dir.
func Build(ctx context.Context, dir string) (string, error) {
	if bin := os.Getenv("TOSKA_BIN"); bin != "" {
		return bin, nil
	}
	return BuildPackage(ctx, dir, "github.com/toska-mesh/toska-mesh/cmd/toska")
}

// BuildPackage builds a command of this module into dir.
func BuildPackage(ctx context.Context, dir, pkg string) (string, error) {
	bin := filepath.Join(dir, filepath.Base(pkg))
	if runtime.GOOS == "windows" {
		bin += ".exe"
	}
	out, err := exec.CommandContext(ctx, "go", "build", "-o", bin, pkg).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return bin, nil
}

// Process is a program under test.
type Process struct {
	cmd  *exec.Cmd
	out  syncBuffer
	done chan struct{}
	err  error // after done
}

// Start starts a program. Its output is kept, and copied to log if that is not nil. It ends with the
// process that starts it where the system can see to that.
func Start(ctx context.Context, log io.Writer, env []string, name string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.CommandContext(ctx, name, args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.out.also = log
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.WaitDelay = 2 * time.Second
	endWithParent(p.cmd)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// ProcessID returns the process id.
func (p *Process) ProcessID() int { return p.cmd.Process.Pid }

// Output returns what the program has printed so far.
func (p *Process) Output() string { return p.out.String() }

// Kill ends the program as kill -9 does, and waits for it.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal. One that comes after the program's end is no error.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v: %w", sig, err)
	}
	return nil
}

// Stop asks the program to end and waits; its error says how it ended.
func (p *Process) Stop(within time.Duration) error { return p.StopBy(os.Interrupt, within) }

// StopBy is Stop with a signal of the caller's choice.
func (p *Process) StopBy(sig os.Signal, within time.Duration) error {
	if err := p.Signal(sig); err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-time.After(within):
		p.Kill()
		return fmt.Errorf("did not stop within %s\n%s", within, p.Output())
	}
}

// Node is a running node.
type Node struct {
	*Process
	pointer.Pointer
	// Took is the time from the start to ready.
	Took time.Duration
}

// Up starts a node on free ports with its data in dir, and waits until it is ready. The user's pointer
// lies in dir too, so that nodes of other tests are not seen. Further arguments go to the command.
func Up(ctx context.Context, bin, dir string, log io.Writer, args ...string) (*Node, error) {
	begin := time.Now()
	p, err := Launch(ctx, bin, dir, log, args...)
	if err != nil {
		return nil, err
	}
	n := &Node{Process: p}
	ready := readyFile(dir)
	for time.Since(begin) < 20*time.Second {
		b, err := os.ReadFile(ready)
		if err == nil && json.Unmarshal(b, &n.Pointer) == nil {
			n.Took = time.Since(begin)
			return n, nil
		}
		select {
		case <-p.done:
			return nil, fmt.Errorf("the node ended before it was ready: %w\n%s", p.err, p.Output())
		case <-time.After(2 * time.Millisecond):
		}
	}
	p.Kill()
	return nil, fmt.Errorf("the node was not ready within 20 s\n%s", p.Output())
}

// Launch starts a node as Up does and does not wait until it is ready. Of arguments that are given twice
// the last wins: those of the caller.
func Launch(ctx context.Context, bin, dir string, log io.Writer, args ...string) (*Process, error) {
	ready := readyFile(dir)
	_ = os.Remove(ready) // of an earlier run
	return Start(ctx, log, Env(dir), bin, append([]string{
		"up", "--data", filepath.Join(dir, "data"), "--ready-file", ready,
		"--listen-gateway", "127.0.0.1:0", "--listen-control", "127.0.0.1:0", "--listen-discovery", "127.0.0.1:0",
	}, args...)...)
}

func readyFile(dir string) string { return filepath.Join(dir, "ready.json") }

// Env is the environment in which programs find the node whose directory is dir, and no other.
func Env(dir string) []string {
	return []string{"XDG_RUNTIME_DIR=" + dir, "XDG_STATE_HOME=" + dir, "TOSKA_CONTROL=", "TOSKA_TOKEN="}
}

// syncBuffer is a buffer that a process writes and a test reads.
type syncBuffer struct {
	mu   sync.Mutex
	b    strings.Builder // guarded by mu
	also io.Writer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.also != nil {
		_, _ = s.also.Write(p)
	}
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
