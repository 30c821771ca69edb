//go:build unix

package pointer_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
)

func TestLivingPassesOverWhatAnotherUserCouldHaveWritten(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, dir, file string)
	}{
		{"a file that others may write", func(t *testing.T, _, file string) { chmod(t, file, 0o602) }},
		{"a file that others may read", func(t *testing.T, _, file string) { chmod(t, file, 0o644) }},
		{"a directory that others may write", func(t *testing.T, dir, _ string) { chmod(t, dir, 0o770) }},
		{"a link", func(t *testing.T, _, file string) {
			elsewhere := filepath.Join(t.TempDir(), "p.json")
			if err := os.Rename(file, elsewhere); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(elsewhere, file); err != nil {
				t.Fatal(err)
			}
		}},
		{"a file that is no JSON", func(t *testing.T, _, file string) {
			if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			place(t)
			dir := runtimePlace()
			p := node(t, "a")
			if _, err := pointer.Publish(p); err != nil {
				t.Fatal(err)
			}
			expectLiving(t, p)
			files, err := filepath.Glob(filepath.Join(dir, "*.json"))
			if err != nil || len(files) != 1 {
				t.Fatalf("pointers in %s: %v, %v", dir, files, err)
			}
			tc.spoil(t, dir, files[0])
			expectLiving(t)
		})
	}
}

func TestPublishFallsBackToTheStateDirectory(t *testing.T) {
	place(t)
	dir := runtimePlace()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	chmod(t, dir, 0o777)
	p := node(t, "a")
	if _, err := pointer.Publish(p); err != nil {
		t.Fatalf("Publish: %v", err)
	}
	expectLiving(t, p)

	t.Setenv("XDG_RUNTIME_DIR", "")
	expectLiving(t, p)

	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("HOME", "")
	if _, err := pointer.Publish(p); err == nil {
		t.Error("Publish without any directory = nil, want an error")
	}
}

// runtimePlace is where pointers go while there is a runtime directory.
func runtimePlace() string { return filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "toska", "nodes") }

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestSurveyTellsOfEachFileOnceAndOfAnOpenDirectory(t *testing.T) {
	place(t)
	t.Setenv("XDG_STATE_HOME", os.Getenv("XDG_RUNTIME_DIR"))
	if _, err := pointer.Publish(node(t, "a")); err != nil {
		t.Fatal(err)
	}
	found, err := pointer.Survey(t.Context())
	if err != nil || len(found) != 1 || !found[0].Living {
		t.Errorf("Survey of one directory that is named twice = %+v, %v", found, err)
	}
	chmod(t, runtimePlace(), 0o755)
	found, err = pointer.Survey(t.Context())
	if err != nil || len(found) != 1 || found[0].Path != runtimePlace() || found[0].Problem == nil {
		t.Errorf("Survey of an open directory = %+v, %v", found, err)
	}
}
