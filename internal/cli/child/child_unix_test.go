//go:build unix

package child_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/cli/child"
)

// The test binary plays the parts of this process (the runner) and of its watchdog.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 {
		os.Exit(m.Run())
	}
	switch os.Args[1] {
	case "watchdog":
		fmt.Fprintln(os.Stderr, child.Watch(os.Stdin, os.Stdout))
		os.Exit(1)
	case "runner":
		p, err := child.Start(config(os.Args[2]))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(child.StartStatus(err))
		}
		status, err := p.Wait()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(status)
	}
	os.Exit(m.Run())
}

func config(script string) child.Config {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return child.Config{Argv: []string{"sh", "-c", script}, Env: os.Environ(),
		Stdout: os.Stdout, Stderr: os.Stderr, Watchdog: []string{exe, "watchdog"}}
}

func TestWaitReturnsTheExitStatus(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		want         int
	}{
		{"of a success", "exit 0", 0},
		{"of a failure", "exit 37", 37},
		{"of one that a signal ended", "kill -KILL $$", 128 + 9},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := child.Start(config(tc.script))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := p.Wait(); got != tc.want || err != nil {
				t.Errorf("Wait = %d, %v, want %d", got, err, tc.want)
			}
			if err := p.Kill(); err != nil {
				t.Errorf("Kill after the end = %v, want nil", err)
			}
		})
	}
}

func TestStartTellsWhyItCannot(t *testing.T) {
	plain := t.TempDir() + "/plain"
	if err := os.WriteFile(plain, []byte("#!/missing/interpreter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		argv []string
		want int
	}{
		{"a program that is not there", []string{"no-such-program-here"}, 127},
		{"a file that may not be run", []string{plain}, 126},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config("")
			cfg.Argv = tc.argv
			p, err := child.Start(cfg)
			if err == nil {
				_, _ = p.Wait()
				t.Fatal("Start = nil, want an error")
			}
			if got := child.StartStatus(err); got != tc.want {
				t.Errorf("StartStatus(%v) = %d, want %d", err, got, tc.want)
			}
		})
	}
	for _, cfg := range []child.Config{{}, {Argv: []string{"sh"}}, {Argv: []string{"sh"}, Watchdog: []string{"true"}}} {
		if _, err := child.Start(cfg); err == nil {
			t.Errorf("Start(%v) = nil, want an error", cfg)
		}
	}
}

func TestSignalReachesTheWholeGroup(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	// The outer trap comes first: once the inner shell is ready, so is the outer one.
	cfg := config(`trap 'wait; echo outer; exit 5' USR1
		(trap 'echo inner; exit' USR1; echo ready; while :; do sleep 0.05; done) &
		wait`)
	cfg.Stdout = w
	p, err := child.Start(cfg)
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(r)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("the program says %q", lines.Text())
	}
	if err := p.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
	}
	if got := strings.Join(said, " "); got != "inner outer" {
		t.Errorf("the group says %q, want both shells to have the signal", got)
	}
	if status, err := p.Wait(); status != 5 || err != nil {
		t.Errorf("Wait = %d, %v, want 5", status, err)
	}
}

func TestWaitEndsWhatIsLeftOfTheGroup(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cfg := config("sleep 600 >/dev/null & echo $!")
	cfg.Stdout = w
	p, err := child.Start(cfg)
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if status, err := p.Wait(); status != 0 || err != nil {
		t.Errorf("Wait = %d, %v", status, err)
	}
	awaitDead(t, atoi(t, line))
}

func TestTheGroupEndsWhenItsRunnerIsKilled(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	runner := exec.CommandContext(t.Context(), exe, "runner",
		"trap '' HUP INT TERM; sleep 600 >/dev/null 2>&1 & echo $$ $!; wait")
	out, err := runner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := runner.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := runner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = runner.Wait()
	for pid := range strings.FieldsSeq(line) {
		awaitDead(t, atoi(t, pid))
	}
}

func TestWatchRefusesAGroupThatIsNotItsOwn(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", exe+" watchdog </dev/null; exit 9").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 9 || !strings.Contains(string(out), "does not lead") {
		t.Errorf("watchdog = %v, %s; want it to refuse and its group to live", err, out)
	}
}

// awaitDead waits until the process is gone, or is one that nobody has waited for.
func awaitDead(t *testing.T, pid int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("process %d still lives", pid)
		}
	}
}

func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
