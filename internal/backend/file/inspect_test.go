package file_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/backend/file"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestInspectTellsWhatAStartWouldRefuse(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, path string)
		codes []string
	}{
		{"a good directory", func(*testing.T, string) {}, nil},
		{"a newer format", func(t *testing.T, path string) { put(t, filepath.Join(path, "format"), "99") }, []string{file.CodeNewer}},
		{"a format that is none", func(t *testing.T, path string) { put(t, filepath.Join(path, "format"), "x") }, []string{file.CodeDamaged}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := t.TempDir()
			closeDir(t, open(t, path))
			tc.spoil(t, path)
			st := inspect(t, path)
			if !st.Exists || st.Held || st.Path != path {
				t.Errorf("Inspect = %+v", st)
			}
			expectCodes(t, st, tc.codes...)
		})
	}
}

func TestInspectOfWhatIsNotADataDirectory(t *testing.T) {
	path := t.TempDir()
	if st := inspect(t, filepath.Join(path, "none")); st.Exists || len(st.Problems) > 0 {
		t.Errorf("Inspect of nothing = %+v", st)
	}
	if _, err := os.Stat(filepath.Join(path, "none")); err == nil {
		t.Error("Inspect made the directory")
	}
	if st := inspect(t, path); !st.Exists || len(st.Problems) > 0 {
		t.Errorf("Inspect of an empty directory = %+v", st)
	}
	put(t, filepath.Join(path, "letter.txt"), "dear")
	expectCodes(t, inspect(t, path), file.CodeForeign)
	expectCodes(t, inspect(t, filepath.Join(path, "letter.txt")), file.CodeForeign)
}

func TestInspectNamesTheHolderAndLeavesTheLockFree(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if err := d.Announce(map[string]string{"control": "127.0.0.1:7"}); err != nil {
		t.Fatal(err)
	}
	st := inspect(t, path)
	want := "process " + strconv.Itoa(os.Getpid()) + " (control 127.0.0.1:7)"
	if !st.Held || st.Holder != want || len(st.Problems) > 0 {
		t.Errorf("Inspect = %+v, want held by %s", st, want)
	}
	closeDir(t, d)
	if st := inspect(t, path); st.Held {
		t.Errorf("Inspect of a directory that was let go of = %+v", st)
	}
	open(t, path) // Inspect must not have kept the lock
}

func inspect(t *testing.T, path string) file.State {
	t.Helper()
	st, err := file.Inspect(path)
	if err != nil {
		t.Fatalf("Inspect(%s): %v", path, err)
	}
	return st
}

func expectCodes(t *testing.T, st file.State, want ...string) {
	t.Helper()
	var got []string
	for _, err := range st.Problems {
		got = append(got, mesh.CodeOf(err))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems of %s (-want +got):\n%s", strings.TrimSpace(st.Path), diff)
	}
}
