//go:build unix

package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// readyTimeout bounds the start of the watchdog.
const readyTimeout = 10 * time.Second

// Process is a running program and its process group.
type Process struct {
	cmd      *exec.Cmd
	watchdog *watchdog

	mu    sync.Mutex // guards ended, and keeps signals from a group that is gone
	ended bool
}

func start(cfg Config) (*Process, error) {
	path, err := exec.LookPath(cfg.Argv[0])
	if err != nil {
		return nil, err
	}
	w, err := startWatchdog(cfg.Watchdog)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.Background(), path)
	cmd.Args, cmd.Env = cfg.Argv, cfg.Env
	setStdio(cmd, cfg)
	// The watchdog leads the group, so that the program is in it from its first instruction on and the
	// group's number stays taken until the watchdog is done.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: w.pid()}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, w.stop())
	}
	return &Process{cmd: cmd, watchdog: w}, nil
}

// setStdio leaves nil files nil: a nil *os.File in an interface would not be.
func setStdio(cmd *exec.Cmd, cfg Config) {
	if cfg.Stdin != nil {
		cmd.Stdin = cfg.Stdin
	}
	if cfg.Stdout != nil {
		cmd.Stdout = cfg.Stdout
	}
	if cfg.Stderr != nil {
		cmd.Stderr = cfg.Stderr
	}
}

// PID returns the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Wait waits until the program ends, ends what is left of its process group, and returns its exit
// status: 128 and the signal's number if a signal ended it.
func (p *Process) Wait() (int, error) {
	err := p.cmd.Wait()
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	stopErr := p.watchdog.stop()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 1, errors.Join(err, stopErr)
	}
	if ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), stopErr
	}
	return p.cmd.ProcessState.ExitCode(), stopErr
}

// Signal sends the signal to every process of the group. It does nothing once the program has ended.
func (p *Process) Signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("send %v to process %d: not a signal of this system", sig, p.PID())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil
	}
	if err := syscall.Kill(-p.watchdog.pid(), s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %v to process group %d: %w", sig, p.watchdog.pid(), err)
	}
	return nil
}

// Kill ends every process of the group at once.
func (p *Process) Kill() error { return p.Signal(syscall.SIGKILL) }

// watchdog is the process that outlives this one by just long enough to end the group.
type watchdog struct {
	cmd  *exec.Cmd
	hold *os.File // closed, by us or by our death, to end the group
}

func startWatchdog(argv []string) (_ *watchdog, err error) {
	if len(argv) == 0 {
		return nil, errors.New("no watchdog is configured")
	}
	watched, hold, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = watched.Close() }()
	ready, tell, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, hold.Close())
	}
	defer func() { _ = ready.Close() }()
	cmd := exec.CommandContext(context.Background(), argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout = watched, tell
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	_ = tell.Close()
	if err != nil {
		return nil, errors.Join(err, hold.Close())
	}
	w := &watchdog{cmd: cmd, hold: hold}
	if err := awaitReady(ready); err != nil {
		return nil, errors.Join(fmt.Errorf("the watchdog did not start: %w", err), cmd.Process.Kill(), w.stop())
	}
	return w, nil
}

// awaitReady waits for the one byte by which the watchdog says that signals no longer end it.
func awaitReady(ready *os.File) error {
	if err := ready.SetReadDeadline(time.Now().Add(readyTimeout)); err != nil {
		return err
	}
	_, err := io.ReadFull(ready, make([]byte, 1))
	return err
}

func (w *watchdog) pid() int { return w.cmd.Process.Pid }

// stop ends the group and waits for the watchdog, which ends with it.
func (w *watchdog) stop() error {
	err := w.hold.Close()
	var exit *exec.ExitError
	if waitErr := w.cmd.Wait(); waitErr != nil && !errors.As(waitErr, &exit) {
		err = errors.Join(err, waitErr)
	}
	return err
}

// Watch is the watchdog's main: it ends its process group, itself included, when in ends. It returns
// only if it does not lead a group, for then the group is somebody else's.
func Watch(in io.Reader, ready io.WriteCloser) error {
	if syscall.Getpgrp() != os.Getpid() {
		return errors.New("watch a process group: this process does not lead one; toska run starts it")
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1,
		syscall.SIGUSR2, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGPIPE)
	if _, err := ready.Write([]byte{'\n'}); err != nil {
		return err
	}
	if err := ready.Close(); err != nil {
		return err
	}
	// An error ends the wait as the end of the pipe does: the group must not outlive its watch.
	_, _ = io.Copy(io.Discard, in)
	return syscall.Kill(0, syscall.SIGKILL)
}
