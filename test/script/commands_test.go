//go:build unix

package script_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rsc.io/script"
	"rsc.io/script/scripttest"
)

const (
	pollEvery = 30 * time.Millisecond
	patience  = 20 * time.Second
)

// processes are what a script has running, by name.
type processes struct {
	mu     sync.Mutex // guards byName
	byName map[string]*process
}

type process struct {
	cmd            *exec.Cmd
	stdout, stderr string
	done           chan struct{} // closed once it has ended
}

func newProcesses() *processes { return &processes{byName: map[string]*process{}} }

// commands returns the standard ones and those that only these scripts need.
func (p *processes) commands() map[string]script.Cmd {
	cmds := scripttest.DefaultCmds()
	cmds["start"] = p.startCmd()
	cmds["node"] = p.nodeCmd()
	cmds["signal"] = p.signalCmd()
	cmds["finish"] = p.finishCmd()
	cmds["until"] = untilCmd()
	cmds["gone"] = goneCmd()
	cmds["freeport"] = freeportCmd()
	return cmds
}

func (p *processes) start(s *script.State, name string, argv []string) (*process, error) {
	path, err := lookPath(s, argv[0])
	if err != nil {
		return nil, err
	}
	proc := &process{stdout: s.Path(name + ".stdout"), stderr: s.Path(name + ".stderr"), done: make(chan struct{})}
	out, err := os.Create(proc.stdout)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	errs, err := os.Create(proc.stderr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = errs.Close() }()
	proc.cmd = exec.CommandContext(s.Context(), path, argv[1:]...)
	proc.cmd.Args[0] = argv[0]
	proc.cmd.Dir, proc.cmd.Env, proc.cmd.Stdout, proc.cmd.Stderr = s.Getwd(), s.Environ(), out, errs
	if err := proc.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = proc.cmd.Wait() // finish reads the state
		close(proc.done)
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byName[name] = proc
	return proc, nil
}

func (p *processes) get(name string) (*process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if proc := p.byName[name]; proc != nil {
		return proc, nil
	}
	return nil, fmt.Errorf("nothing was started as %q", name)
}

// end stops what a script left running, and shows what it said if the test failed.
func (p *processes) end(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, proc := range p.byName {
		_ = proc.cmd.Process.Kill()
		<-proc.done
		if t.Failed() {
			out, errs := proc.output()
			t.Logf("%s printed:\n%s%s", name, out, errs)
		}
	}
}

func (p *process) output() (stdout, stderr string) {
	out, _ := os.ReadFile(p.stdout)
	errs, _ := os.ReadFile(p.stderr)
	return string(out), string(errs)
}

func lookPath(s *script.State, name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	path, _ := s.LookupEnv("PATH")
	for _, dir := range filepath.SplitList(path) {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s is not on the PATH", name)
}

func (p *processes) startCmd() script.Cmd {
	return script.Command(script.CmdUsage{
		Summary: "start a program and leave it running",
		Args:    "name program [args...]",
		Detail:  []string{"Its output is in $WORK/name.stdout and $WORK/name.stderr, and printed by finish."},
	}, func(s *script.State, args ...string) (script.WaitFunc, error) {
		if len(args) < 2 {
			return nil, script.ErrUsage
		}
		_, err := p.start(s, args[0], args[1:])
		return nil, err
	})
}

func (p *processes) nodeCmd() script.Cmd {
	return script.Command(script.CmdUsage{
		Summary: "start toska up on free ports and wait until it is ready",
		Args:    "name [flags...]",
		Detail: []string{"The data directory is $WORK/name.data, the ready file $WORK/name.json. GATEWAY, CONTROL and DISCOVERY " +
			"become its addresses, ADMIN and SERVICE its tokens."},
	}, func(s *script.State, args ...string) (script.WaitFunc, error) {
		if len(args) < 1 {
			return nil, script.ErrUsage
		}
		name := args[0]
		ready := s.Path(name + ".json")
		if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		argv := append([]string{"toska", "up", "--data", name + ".data", "--listen-gateway", "127.0.0.1:0", "--listen-control",
			"127.0.0.1:0", "--listen-discovery", "127.0.0.1:0", "--ready-file", ready}, args[1:]...)
		proc, err := p.start(s, name, argv)
		if err != nil {
			return nil, err
		}
		err = poll(s.Context(), func() error {
			select {
			case <-proc.done:
				_, errs := proc.output()
				return fatal{fmt.Errorf("the node ended: %s", errs)}
			default:
			}
			_, err := os.Stat(ready)
			return err
		})
		if err != nil {
			return nil, err
		}
		return nil, setAddresses(s, ready)
	})
}

func setAddresses(s *script.State, ready string) error {
	data, err := os.ReadFile(ready)
	if err != nil {
		return err
	}
	var p struct {
		AdminToken, ServiceToken string
		Addresses                map[string]string
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	for key, value := range map[string]string{"GATEWAY": p.Addresses["gateway"], "CONTROL": p.Addresses["control"],
		"DISCOVERY": p.Addresses["discovery"], "ADMIN": p.AdminToken, "SERVICE": p.ServiceToken} {
		if err := s.Setenv(key, value); err != nil {
			return err
		}
	}
	return nil
}

func (p *processes) signalCmd() script.Cmd {
	signals := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL}
	return script.Command(script.CmdUsage{Summary: "send a signal to a started program", Args: "name INT|TERM|HUP|KILL"},
		func(_ *script.State, args ...string) (script.WaitFunc, error) {
			if len(args) != 2 || signals[args[1]] == 0 {
				return nil, script.ErrUsage
			}
			proc, err := p.get(args[0])
			if err != nil {
				return nil, err
			}
			return nil, proc.cmd.Process.Signal(signals[args[1]])
		})
}

func (p *processes) finishCmd() script.Cmd {
	return script.Command(script.CmdUsage{
		Summary: "wait until a started program ends, and print what it printed",
		Args:    "name status",
		Detail:  []string{"The status is 128 and the signal's number for one that a signal ended."},
	}, func(s *script.State, args ...string) (script.WaitFunc, error) {
		if len(args) != 2 {
			return nil, script.ErrUsage
		}
		want, err := strconv.Atoi(args[1])
		if err != nil {
			return nil, script.ErrUsage
		}
		proc, err := p.get(args[0])
		if err != nil {
			return nil, err
		}
		return func(*script.State) (string, string, error) {
			ctx, cancel := context.WithTimeout(s.Context(), patience)
			defer cancel()
			select {
			case <-proc.done:
			case <-ctx.Done():
				out, errs := proc.output()
				return out, errs, fmt.Errorf("%s still runs", args[0])
			}
			out, errs := proc.output()
			status := proc.cmd.ProcessState.ExitCode()
			if ws, ok := proc.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
				status = 128 + int(ws.Signal())
			}
			if status != want {
				return out, errs, fmt.Errorf("%s ended with status %d, want %d", args[0], status, want)
			}
			return out, errs, nil
		}, nil
	})
}

func untilCmd() script.Cmd {
	return script.Command(script.CmdUsage{
		Summary: "run a program again and again until its standard output matches",
		Args:    "regexp program [args...]",
	}, func(s *script.State, args ...string) (script.WaitFunc, error) {
		if len(args) < 2 {
			return nil, script.ErrUsage
		}
		re, err := regexp.Compile("(?m)" + args[0])
		if err != nil {
			return nil, err
		}
		path, err := lookPath(s, args[1])
		if err != nil {
			return nil, err
		}
		return func(s *script.State) (string, string, error) {
			var out, errs strings.Builder
			err := poll(s.Context(), func() error {
				out.Reset()
				errs.Reset()
				cmd := exec.CommandContext(s.Context(), path, args[2:]...)
				cmd.Args[0] = args[1]
				cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.Getwd(), s.Environ(), &out, &errs
				if err := cmd.Run(); err != nil {
					return err
				}
				if !re.MatchString(out.String()) {
					return fmt.Errorf("no match for %s", args[0])
				}
				return nil
			})
			return out.String(), errs.String(), err
		}, nil
	})
}

func goneCmd() script.Cmd {
	return script.Command(script.CmdUsage{Summary: "wait until the process whose id is in the file has ended", Args: "file"},
		func(s *script.State, args ...string) (script.WaitFunc, error) {
			if len(args) != 1 {
				return nil, script.ErrUsage
			}
			data, err := os.ReadFile(s.Path(args[0]))
			if err != nil {
				return nil, err
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
			if err != nil {
				return nil, err
			}
			return nil, poll(s.Context(), func() error {
				stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
				if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || err == nil && strings.Contains(string(stat), ") Z ") {
					return nil
				}
				return fmt.Errorf("process %d still lives", pid)
			})
		})
}

func freeportCmd() script.Cmd {
	return script.Command(script.CmdUsage{Summary: "set a variable to a free port", Args: "variable"},
		func(s *script.State, args ...string) (script.WaitFunc, error) {
			if len(args) != 1 {
				return nil, script.ErrUsage
			}
			l, err := (&net.ListenConfig{}).Listen(s.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
			return nil, errors.Join(l.Close(), s.Setenv(args[0], port))
		})
}

// fatal is an error that trying again does not mend.
type fatal struct{ error }

// poll tries until f succeeds, and returns its last error when patience ends.
func poll(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := f()
		if err == nil || errors.As(err, new(fatal)) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("gave up: %w", err)
		}
	}
}
