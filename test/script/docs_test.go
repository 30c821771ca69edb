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
	"slices"
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

// block is a fenced block of a page.
type block struct {
	line     int
	language string
	mark     string // the comment just above it; see TestDocumentation
	text     string
}

// TestDocumentation runs every block of the README and the guide as it stands, page by page and in order,
// in a copy of the tree. Blocks of text are what is seen, and not run. One of another language than sh is a
// file that the reader makes: the HTML comment above it says which, as in "file: greeter/main.go"; go vet looks at
// those of Go when the page is at its end, and the shell blocks do with them what the page says. A
// yaml block without a comment is part of a mesh.yaml, which must be a good one.
//
// The comment above a shell block may say what kind it is:
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
	got := blocks("x\n<!-- keeps running -->\n```sh\none\ntwo\n```\n```text\nno\n```\n<!-- far -->\n\n```sh\nthree\n```\n<!-- file: a/b.go -->\n```go\npackage b\n```\n")
	want := []block{{3, "sh", "keeps running", "one\ntwo\n"}, {7, "text", "", "no\n"}, {12, "sh", "", "three\n"}, {16, "go", "file: a/b.go", "package b\n"}}
	if !slices.Equal(got, want) {
		t.Errorf("blocks = %+v, want %+v", got, want)
	}
}

var markForm = regexp.MustCompile(`^<!-- (.*) -->$`)

// blocks returns the blocks of a page.
func blocks(page string) []block {
	var out []block
	var current *block
	before := ""
	for i, line := range strings.Split(page, "\n") {
		switch {
		case current == nil && strings.HasPrefix(line, "```"):
			current = &block{line: i + 1, language: line[len("```"):]}
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
	goDirs  []string // where the page has put Go files
}

// background is a block that keeps running, with all that it has started.
type background struct {
	cmd  *exec.Cmd
	out  string // the file that holds its output
	runs bool   // it is toska run, which says itself when the gateway knows of it
	done chan struct{}
}

func newReader(t *testing.T) *reader {
	t.Helper()
	own := t.TempDir()
	// What a reader's own module needs, the tree's go.sum has vouched for: the checksum database, which may be out of
	// reach, is not asked again.
	r := &reader{t: t, dir: copyTree(t), env: append(os.Environ(), "XDG_RUNTIME_DIR="+own, "XDG_STATE_HOME="+own, "GONOSUMDB=*")}
	t.Cleanup(func() {
		for _, b := range r.running {
			b.stop(t, syscall.SIGTERM)
		}
	})
	return r
}

func (r *reader) read(list []block) {
	r.t.Helper()
	if !slices.ContainsFunc(list, func(b block) bool { return b.language == "sh" }) {
		r.t.Fatal("the page has no sh block")
	}
	for _, b := range list {
		name, isFile := strings.CutPrefix(b.mark, "file: ")
		switch {
		case b.language == "text":
		case isFile:
			r.write(b, name)
		case b.language == "sh":
			r.shell(b)
		case b.language == "yaml" && b.mark == "":
			r.write(b, "part.yaml")
			r.once(block{line: b.line, text: "go run ./cmd/toska config check part.yaml"})
		default:
			r.t.Fatalf("line %d: a block of %q wants a comment above it that names its file", b.line, b.language)
		}
	}
	for _, dir := range r.goDirs {
		r.once(block{text: "cd " + dir + " && go vet ."})
	}
}

// shell runs a block, as the comment above it says.
func (r *reader) shell(b block) {
	r.t.Helper()
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

// write makes the file that a block is.
func (r *reader) write(b block, name string) {
	r.t.Helper()
	if !filepath.IsLocal(name) {
		r.t.Fatalf("line %d: %q is no file below the directory of the page", b.line, name)
	}
	path := filepath.Join(r.dir, filepath.FromSlash(name))
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(b.text), 0o600)
	}
	if err != nil {
		r.t.Fatalf("line %d: %v", b.line, err)
	}
	if dir := filepath.Dir(name); b.language == "go" && !slices.Contains(r.goDirs, dir) {
		r.goDirs = append(r.goDirs, dir)
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

var (
	// isReady is what a node says, and toska run of a program that the gateway has.
	isReady = regexp.MustCompile(`toska ready |is behind the gateway`)
	// isThere is what programs say that join by themselves, of which the gateway hears a few milliseconds later,
	// or not at all.
	isThere = regexp.MustCompile(`instance registered|registered as |renewed\n|Serving HTTP `)
)

// hearing is how long a page waits then. No reader is as fast.
const hearing = 300 * time.Millisecond

// keep starts a block and waits until it says that it is ready.
func (r *reader) keep(b block) {
	r.t.Helper()
	f, err := os.Create(filepath.Join(r.t.TempDir(), "out"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	bg := &background{cmd: exec.CommandContext(context.WithoutCancel(r.t.Context()), "bash", "-euo", "pipefail", "-c", b.text), out: f.Name(),
		runs: strings.Contains(b.text, "toska run "), done: make(chan struct{})}
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
		if !b.runs && isThere.Match(out) {
			<-time.After(hearing)
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
