//go:build unix

package script_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// blockTimeout bounds one block: the first of a checkout compiles it.
	blockTimeout = 5 * time.Minute
	root         = "../.."
)

// block is a fenced block of shell commands in a page.
type block struct {
	line int
	mark string // the comment just above it; see TestDocumentation
	text string
}

// TestDocumentation runs every sh block of the README and the guide as it stands, page by page and in
// order, in a copy of the tree. The HTML comment above a block may say what kind it is:
//
//   - "keeps running": it goes on while the next ones run; the test waits until it says that it is ready.
//   - "ends the last that keeps running": that one is killed before this block runs.
//   - "not run again: why": it is checked for syntax only.
//
// A block fails if it exits with an error, prints nothing, prints a problem document, or prints an HTTP
// status other than 200 as a line of its own.
func TestDocumentation(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "git", "go", "python3"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("the documentation's commands need %s: install it", tool)
		}
	}
	guide, err := filepath.Glob(filepath.Join(root, "docs", "guide", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append([]string{filepath.Join(root, "README.md")}, guide...) {
		t.Run(filepath.Base(page), func(t *testing.T) {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			newReader(t).read(blocks(string(text)))
		})
	}
}

func TestBlocksOfAPage(t *testing.T) {
	got := blocks("x\n<!-- keeps running -->\n```sh\none\ntwo\n```\n```text\nno\n```\n<!-- far -->\n\n```sh\nthree\n```\n")
	want := []block{{3, "keeps running", "one\ntwo\n"}, {12, "", "three\n"}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("blocks = %+v, want %+v", got, want)
	}
}

var markForm = regexp.MustCompile(`^<!-- (.*) -->$`)

// blocks returns the sh blocks of a page.
func blocks(page string) []block {
	var out []block
	var current *block
	before := ""
	for i, line := range strings.Split(page, "\n") {
		switch {
		case current == nil && line == "```sh":
			current = &block{line: i + 1}
			if m := markForm.FindStringSubmatch(before); m != nil {
				current.mark = m[1]
			}
		case current != nil && line == "```":
			out = append(out, *current)
			current = nil
		case current != nil:
			current.text += line + "\n"
		}
		before = line
	}
	return out
}

// reader does what a page says.
type reader struct {
	t       *testing.T
	dir     string
	env     []string
	running []*background
}

// background is a block that keeps running, with all that it has started.
type background struct {
	cmd  *exec.Cmd
	out  string // the file that holds its output
	done chan struct{}
}

func newReader(t *testing.T) *reader {
	t.Helper()
	own := t.TempDir()
	r := &reader{t: t, dir: copyTree(t), env: append(os.Environ(), "XDG_RUNTIME_DIR="+own, "XDG_STATE_HOME="+own)}
	t.Cleanup(func() {
		for _, b := range r.running {
			b.stop(t, syscall.SIGTERM)
		}
	})
	return r
}

func (r *reader) read(list []block) {
	r.t.Helper()
	if len(list) == 0 {
		r.t.Fatal("the page has no sh block")
	}
	for _, b := range list {
		switch {
		case b.mark == "keeps running":
			r.keep(b)
		case strings.HasPrefix(b.mark, "not run again: "):
			r.once(b, "-n")
		case b.mark == "ends the last that keeps running":
			last := len(r.running) - 1
			if last < 0 {
				r.t.Fatalf("line %d: nothing keeps running", b.line)
			}
			r.running[last].stop(r.t, syscall.SIGKILL)
			r.running = r.running[:last]
			r.say(b, r.once(b))
		case b.mark == "":
			r.say(b, r.once(b))
		default:
			r.t.Fatalf("line %d: the comment %q above the block is none that this test knows", b.line, b.mark)
		}
	}
}

// once runs a block to its end and returns what it printed.
func (r *reader) once(b block, flags ...string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), blockTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", append(flags, "-euo", "pipefail", "-c", b.text)...)
	cmd.Dir, cmd.Env = r.dir, r.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("line %d: %s%v\n%s", b.line, b.text, err, out)
	}
	return string(out)
}

var otherStatus = regexp.MustCompile(`(?m)^(000|[1345]\d\d|20[1-9])$`)

// say judges what a block printed.
func (r *reader) say(b block, out string) {
	r.t.Helper()
	if strings.TrimSpace(out) == "" || strings.Contains(out, `"code":"TOSKA-`) || otherStatus.MatchString(out) {
		r.t.Errorf("line %d: %sprints %q", b.line, b.text, out)
	}
}

var isReady = regexp.MustCompile(`toska ready |is behind the gateway`)

// keep starts a block and waits until it says that it is ready.
func (r *reader) keep(b block) {
	r.t.Helper()
	f, err := os.Create(filepath.Join(r.t.TempDir(), "out"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	bg := &background{cmd: exec.CommandContext(context.WithoutCancel(r.t.Context()), "bash", "-euo", "pipefail", "-c", b.text), out: f.Name(), done: make(chan struct{})}
	bg.cmd.Dir, bg.cmd.Env, bg.cmd.Stdout, bg.cmd.Stderr = r.dir, r.env, f, f
	bg.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := bg.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		_ = bg.cmd.Wait() // it is told to end
		close(bg.done)
	}()
	r.running = append(r.running, bg)
	if err := bg.awaitReady(r.t.Context()); err != nil {
		r.t.Fatalf("line %d: %s%v", b.line, b.text, err)
	}
}

func (b *background) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, blockTimeout)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		out, err := os.ReadFile(b.out)
		if err != nil {
			return err
		}
		if isReady.Match(out) {
			return nil
		}
		select {
		case <-b.done:
			out, err = os.ReadFile(b.out)
			return errors.Join(fmt.Errorf("ended before it was ready:\n%s", out), err)
		case <-ctx.Done():
			return fmt.Errorf("is not ready after %v:\n%s", blockTimeout, out)
		case <-tick.C:
		}
	}
}

// stop ends the block's process group and waits for its leader.
func (b *background) stop(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(-b.cmd.Process.Pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Errorf("end a block: %v", err)
	}
	select {
	case <-b.done:
	case <-time.After(patience):
		t.Error("a block does not end")
		_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
		<-b.done
	}
}

// copyTree copies what git knows of, and what it would take in, to a directory of the test's own.
func copyTree(t *testing.T) string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	names, err := list.Output()
	if err != nil {
		t.Fatalf("list the files of the tree: %v", err)
	}
	dir := t.TempDir()
	for name := range bytes.SplitSeq(bytes.TrimRight(names, "\x00"), []byte{0}) {
		copyFile(t, filepath.Join(root, string(name)), filepath.Join(dir, string(name)))
	}
	return dir
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if errors.Is(err, os.ErrNotExist) {
		return // deleted and not yet committed
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, info.Mode().Perm()); err != nil {
		t.Fatal(err)
	}
}
