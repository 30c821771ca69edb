package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Process is a running program and the job that it is in.
type Process struct {
	cmd *exec.Cmd
	job windows.Handle

	mu    sync.Mutex // guards ended
	ended bool
}

func start(cfg Config) (*Process, error) {
	path, err := exec.LookPath(cfg.Argv[0])
	if err != nil {
		return nil, err
	}
	job, err := newJob()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.Background(), path)
	cmd.Args, cmd.Env = cfg.Argv, cfg.Env
	setStdio(cmd, cfg)
	// A group of its own keeps the console's Ctrl-C from the program, so that it can be drained first.
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, windows.CloseHandle(job))
	}
	p := &Process{cmd: cmd, job: job}
	if err := p.join(); err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), windows.CloseHandle(job))
	}
	return p, nil
}

// newJob returns a job whose processes end when its last handle is closed, which the system does when
// this process ends.
func newJob() (windows.Handle, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return 0, fmt.Errorf("create a job: %w", err)
	}
	var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	info.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	if err != nil {
		return 0, errors.Join(fmt.Errorf("limit a job: %w", err), windows.CloseHandle(job))
	}
	return job, nil
}

func (p *Process) join() error {
	const rights = windows.PROCESS_SET_QUOTA | windows.PROCESS_TERMINATE
	h, err := windows.OpenProcess(rights, false, uint32(p.PID()))
	if err != nil {
		return fmt.Errorf("open process %d: %w", p.PID(), err)
	}
	return errors.Join(windows.AssignProcessToJobObject(p.job, h), windows.CloseHandle(h))
}

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

// Wait waits until the program ends, ends what is left of its job, and returns its exit status.
func (p *Process) Wait() (int, error) {
	err := p.cmd.Wait()
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	closeErr := windows.CloseHandle(p.job)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 1, errors.Join(err, closeErr)
	}
	return p.cmd.ProcessState.ExitCode(), closeErr
}

// Signal sends os.Kill as the end of the job, and every other signal as the console's Ctrl-Break, the
// only one that reaches a process group. It does nothing once the program has ended.
func (p *Process) Signal(sig os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil
	}
	if sig == os.Kill {
		return windows.TerminateJobObject(p.job, 137)
	}
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(p.PID()))
}

// Kill ends every process of the job at once.
func (p *Process) Kill() error { return p.Signal(os.Kill) }

// Watch has nothing to do here: the job object watches.
func Watch(io.Reader, io.WriteCloser) error {
	return errors.New("watch a process group: this system needs no watchdog")
}
