//go:build unix

// Package release_test builds releases as tools/release does, and sees that they can be built again.
package release_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

const root = "../.."

// The same commit from two checkouts of different names, with different settings around it.
func TestAReleaseIsTheSameBytesWhereverItIsBuilt(t *testing.T) {
	target := runtime.GOOS + "/" + runtime.GOARCH
	first, second := t.TempDir(), t.TempDir()
	one, two := checkout(t, filepath.Join(t.TempDir(), "one")), checkout(t, filepath.Join(t.TempDir(), "another", "place"))
	release(t, one, nil, "-o", first, "-t", target, "v1.2.3")
	release(t, two, []string{"GOFLAGS=-ldflags=-w", "GOAMD64=v3", "TZ=Asia/Tokyo"}, "-o", second, "-t", target, "1.2.3")

	name := "toska-1.2.3-" + runtime.GOOS + "-" + runtime.GOARCH
	a, b := read(t, filepath.Join(first, name)), read(t, filepath.Join(second, name))
	if !bytes.Equal(a, b) {
		t.Errorf("two builds differ: %d and %d bytes", len(a), len(b))
	}
	for _, dir := range []string{root, one, os.Getenv("HOME") + "/go"} {
		if abs, err := filepath.Abs(dir); err != nil || bytes.Contains(a, []byte(abs)) {
			t.Errorf("the binary holds the path %s, %v", abs, err)
		}
	}
	sums := string(read(t, filepath.Join(first, "SHA256SUMS")))
	digest := sha256.Sum256(a)
	if want := hex.EncodeToString(digest[:]) + "  " + name + "\n"; !strings.Contains(sums, want) {
		t.Errorf("SHA256SUMS holds no %q:\n%s", want, sums)
	}
	if again := string(read(t, filepath.Join(second, "SHA256SUMS"))); again != sums {
		t.Errorf("SHA256SUMS differ:\n%s\n%s", sums, again)
	}
	commit := strings.TrimSpace(run(t, one, nil, "git", "rev-parse", "HEAD"))
	want := fmt.Sprintf("toska 1.2.3 commit %s %s %s\n", commit[:12], runtime.Version(), target)
	if got := run(t, one, nil, filepath.Join(first, name), "version"); got != want {
		t.Errorf("toska version = %q, want %q", got, want)
	}
}

func TestAReleaseOfAChangedCheckoutSaysSo(t *testing.T) {
	dir, out := checkout(t, filepath.Join(t.TempDir(), "changed")), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "README.md"), []byte("changed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	release(t, dir, nil, "-o", out, "-t", runtime.GOOS+"/"+runtime.GOARCH, "0.1.0-rc.1")
	if got := string(read(t, filepath.Join(out, "BUILD"))); !strings.Contains(got, "version 0.1.0-rc.1\n") || !strings.Contains(got, "-modified\n") {
		t.Errorf("BUILD = %q", got)
	}
}

func TestAVersionThatIsNoneIsRefused(t *testing.T) {
	for _, args := range [][]string{{"latest"}, {"1.2"}, {"1.2.3 -X evil"}, {}, {"1.2.3", "more"}} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(root, "tools", "release"), args...)
		if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 2 {
			t.Errorf("tools/release %q: %v, want exit code 2\n%s", args, err, out)
		}
	}
}

// checkout commits what git would take in of this tree, in a repository of its own.
func checkout(t *testing.T, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	list := run(t, root, nil, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	for name := range strings.SplitSeq(strings.TrimRight(list, "\x00"), "\x00") {
		copyFile(t, filepath.Join(root, name), filepath.Join(dir, name))
	}
	who := []string{"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
		"GIT_AUTHOR_DATE=2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE=2026-01-01T00:00:00Z", "GIT_CONFIG_GLOBAL=/dev/null"}
	run(t, dir, who, "git", "init", "-q", "-b", "main")
	run(t, dir, who, "git", "add", "-A")
	run(t, dir, who, "git", "commit", "-q", "-m", "all of it")
	return dir
}

func release(t *testing.T, dir string, env []string, args ...string) {
	t.Helper()
	run(t, dir, env, filepath.Join(dir, "tools", "release"), args...)
}

func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, errs.String())
	}
	return string(out)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if os.IsNotExist(err) {
		return // deleted and not yet committed
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, read(t, from), info.Mode().Perm()); err != nil {
		t.Fatal(err)
	}
}

// The Go that builds elsewhere is the one that the module asks for.
func TestTheWorkflowsUseTheGoOfTheModule(t *testing.T) {
	minor := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(read(t, filepath.Join(root, "go.mod"))))[1]
	workflows, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*.yml"))
	if err != nil || len(workflows) == 0 {
		t.Fatalf("workflows: %v, %v", workflows, err)
	}
	named := regexp.MustCompile(`(?:go-version: "|FROM golang:)(\d+\.\d+)`)
	found := 0
	for _, path := range append(workflows, filepath.Join(root, ".devcontainer", "Dockerfile")) {
		for _, m := range named.FindAllStringSubmatch(string(read(t, path)), -1) {
			if found++; m[1] != minor {
				t.Errorf("%s uses Go %s, go.mod %s", path, m[1], minor)
			}
		}
	}
	if found < 4 {
		t.Errorf("only %d places name a version of Go", found)
	}
}
