package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/backend/file"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/internal/trust/token"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestOpenMakesADirectoryAndKeepsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "data")
	d := open(t, path)
	if d.Path() != path || d.NodeID() == "" {
		t.Errorf("Path = %q, NodeID = %q", d.Path(), d.NodeID())
	}
	if !token.WellFormed(identity.Admin, d.AdminToken()) || !token.WellFormed(identity.Service, d.ServiceToken()) {
		t.Errorf("tokens = %q, %q", d.AdminToken(), d.ServiceToken())
	}
	if data, err := os.ReadFile(d.AdminTokenPath()); err != nil || strings.TrimSpace(string(data)) != d.AdminToken() {
		t.Errorf("%s holds %q, %v", d.AdminTokenPath(), data, err)
	}
	for _, dir := range []string{d.StorePath(), d.TablesPath()} {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			t.Errorf("Stat(%s) = %v, %v, want a directory", dir, info, err)
		}
	}
	closeDir(t, d)
	again := open(t, path)
	if again.NodeID() != d.NodeID() || again.AdminToken() != d.AdminToken() || again.ServiceToken() != d.ServiceToken() {
		t.Error("the identity or a secret changed when the directory was opened again")
	}
}

func TestOpenMakesANewTokenForOneThatWasMovedAway(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	closeDir(t, d)
	if err := os.Remove(d.AdminTokenPath()); err != nil {
		t.Fatal(err)
	}
	again := open(t, path)
	if again.AdminToken() == d.AdminToken() || again.ServiceToken() != d.ServiceToken() {
		t.Error("want a new admin token and the same service token")
	}
}

func TestOpenOfAFirstStartThatGotNoFurtherThanTheLock(t *testing.T) {
	path := t.TempDir()
	put(t, filepath.Join(path, "lock"), `{"pid":1}`)
	open(t, path)
}

func TestOpenTellsASecondProcessWhoHoldsTheDirectory(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	assertRefused(t, path, mesh.ErrConflict, file.CodeInUse, "process ", path, "--data")
	if err := d.Announce(map[string]string{"control": "127.0.0.1:5010"}); err != nil {
		t.Fatalf("Announce: %v", err)
	}
	assertRefused(t, path, mesh.ErrConflict, file.CodeInUse, "control 127.0.0.1:5010")
	closeDir(t, d)
	if err := d.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := d.Announce(nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Announce after Close = %v, want ErrClosed", err)
	}
	open(t, path)
}

func TestOpenRefusesAndChangesNothing(t *testing.T) {
	for _, tc := range []struct {
		name    string
		prepare func(t *testing.T, path string)
		kind    error
		code    string
		says    []string
	}{
		{"a directory of something else", func(t *testing.T, path string) {
			put(t, filepath.Join(path, "precious.txt"), "x")
		}, mesh.ErrInvalid, file.CodeForeign, []string{"not a toska data directory", "precious.txt", "--data"}},
		{"a newer format", func(t *testing.T, path string) {
			made(t, path)
			put(t, filepath.Join(path, "format"), "2\n")
		}, mesh.ErrInvalid, file.CodeNewer, []string{"format 2", "newer toska"}},
		{"a format that is no number", func(t *testing.T, path string) {
			made(t, path)
			put(t, filepath.Join(path, "format"), strings.Repeat("garbage ", 30))
		}, mesh.ErrInvalid, file.CodeDamaged, []string{"format", "garbage", "backup"}},
		{"a node.json that is no JSON", func(t *testing.T, path string) {
			made(t, path)
			put(t, filepath.Join(path, "node.json"), "{")
		}, mesh.ErrInvalid, file.CodeDamaged, []string{"node.json", "backup"}},
		{"a node.json without an id", func(t *testing.T, path string) {
			made(t, path)
			put(t, filepath.Join(path, "node.json"), "{}")
		}, mesh.ErrInvalid, file.CodeDamaged, []string{"node.json", "id"}},
		{"a used store without its node.json", func(t *testing.T, path string) {
			made(t, path)
			put(t, filepath.Join(path, "store", "db"), "x")
			if err := os.Remove(filepath.Join(path, "node.json")); err != nil {
				t.Fatal(err)
			}
		}, mesh.ErrInvalid, file.CodeDamaged, []string{"node.json", "missing"}},
		{"an empty token", func(t *testing.T, path string) {
			made(t, path)
			put(t, filepath.Join(path, "secrets", "admin.token"), "")
		}, mesh.ErrInvalid, file.CodeDamaged, []string{"admin.token", "move it away"}},
		{"a file where the store should be", func(t *testing.T, path string) {
			put(t, filepath.Join(path, "format"), "1\n")
			put(t, filepath.Join(path, "store"), "x")
		}, mesh.ErrInvalid, file.CodeForeign, []string{"store is a file"}},
		{"a directory where a token should be", func(t *testing.T, path string) {
			made(t, path)
			name := filepath.Join(path, "secrets", "service.token")
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(name, 0o700); err != nil {
				t.Fatal(err)
			}
		}, mesh.ErrUnavailable, file.CodeAccess, []string{"service.token"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := t.TempDir()
			tc.prepare(t, path)
			before := tree(t, path)
			assertRefused(t, path, tc.kind, tc.code, append(tc.says, path)...)
			after := tree(t, path)
			for name, content := range before {
				if got, ok := after[name]; name != "lock" && (!ok || got != content) {
					t.Errorf("%s changed from %q to %q (%v)", name, content, got, ok)
				}
			}
			if tc.code == file.CodeForeign && len(before) == 1 || tc.code == file.CodeNewer {
				delete(before, "lock")
				delete(after, "lock")
				if diff := cmp.Diff(before, after); diff != "" {
					t.Errorf("the directory was touched (-before +after):\n%s", diff)
				}
			}
		})
	}
}

func TestOpenRefusesAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	put(t, path, "x")
	assertRefused(t, path, mesh.ErrInvalid, file.CodeForeign, path, "is a file", "--data")
}

func open(t *testing.T, path string) *file.Dir {
	t.Helper()
	d, err := file.Open(path)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { closeDir(t, d) })
	return d
}

func made(t *testing.T, path string) {
	t.Helper()
	closeDir(t, open(t, path))
}

func closeDir(t *testing.T, d *file.Dir) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func assertRefused(t *testing.T, path string, kind error, code string, says ...string) {
	t.Helper()
	d, err := file.Open(path)
	if err == nil {
		closeDir(t, d)
		t.Fatal("Open = nil, want an error")
	}
	if !errors.Is(err, kind) || mesh.CodeOf(err) != code {
		t.Errorf("Open = %v (%s), want kind %v and code %s", err, mesh.CodeOf(err), kind, code)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("Open = %q, which does not say %q", err, s)
		}
	}
}

// tree returns the content of every file below path.
func tree(t *testing.T, path string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(path, func(p string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		rel, _ := filepath.Rel(path, p)
		out[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
