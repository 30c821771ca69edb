//go:build unix

package script_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	"rsc.io/script"
	"rsc.io/script/scripttest"
)

// scriptTimeout bounds one script.
const scriptTimeout = 2 * time.Minute

// TestScripts runs each testdata/*.txtar: its comment is a script, its files are what it starts with.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			runScript(t, file)
		})
	}
}

func runScript(t *testing.T, file string) {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), scriptTimeout)
	t.Cleanup(cancel)
	work := t.TempDir()
	s, err := script.NewState(ctx, work, environment(t, work))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ExtractFiles(archive); err != nil {
		t.Fatal(err)
	}
	procs := newProcesses()
	defer procs.end(t)
	engine := &script.Engine{Cmds: procs.commands(), Conds: scripttest.DefaultConds()}
	scripttest.Run(t, engine, s, file, bytes.NewReader(archive.Comment))
}

// environment keeps a script from the user's own nodes, and from every setting of the machine.
func environment(t *testing.T, work string) []string {
	t.Helper()
	runtimeDir := filepath.Join(work, "run")
	if err := os.Mkdir(runtimeDir, 0o700); err != nil {
		t.Fatal(err)
	}
	env := []string{"WORK=" + work, "HOME=" + work, "XDG_RUNTIME_DIR=" + runtimeDir, "TMPDIR=" + work,
		"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "EDITOR=false"}
	if dir := os.Getenv("GOCOVERDIR"); dir != "" {
		env = append(env, "GOCOVERDIR="+dir)
	}
	return env
}
