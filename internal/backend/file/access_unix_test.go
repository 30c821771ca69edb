//go:build unix

package file_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/backend/file"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestOpenRefusesSecretsThatOthersMayRead(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		mode       os.FileMode
	}{
		{"a token readable by the group", "secrets/admin.token", 0o640},
		{"a token readable by all", "secrets/service.token", 0o604},
		{"an open directory", "secrets", 0o755},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := t.TempDir()
			made(t, path)
			chmod(t, filepath.Join(path, tc.file), tc.mode)
			assertRefused(t, path, mesh.ErrInvalid, file.CodeExposed, filepath.Join(path, tc.file), "chmod ")
		})
	}
}

func TestOpenOfWhatThisUserMayNotUse(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		mode       os.FileMode
		says       string
	}{
		{"a read-only directory", ".", 0o555, "lock"},
		{"a read-only lock", "lock", 0o400, "lock"},
		{"an unreadable format", "format", 0, "format"},
		{"an unreadable node.json", "node.json", 0, "node.json"},
		{"an unreadable token", "secrets/admin.token", 0, "admin.token"},
		{"a closed store", "store", 0, "store"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, "data")
			asUser(t, root, func() {
				made(t, path)
				if tc.name == "a read-only directory" {
					remove(t, filepath.Join(path, "lock"))
				}
				if tc.name == "a closed store" {
					remove(t, filepath.Join(path, "node.json"))
				}
				chmod(t, filepath.Join(path, tc.file), tc.mode)
				assertRefused(t, path, mesh.ErrUnavailable, file.CodeAccess, tc.says, "permission denied", "chmod")
				chmod(t, filepath.Join(path, tc.file), 0o700)
			})
		})
	}
}

func TestOpenWhereNothingMayBeMade(t *testing.T) {
	root := t.TempDir()
	asUser(t, root, func() {
		closed := filepath.Join(root, "closed")
		if err := os.Mkdir(closed, 0o500); err != nil {
			t.Fatal(err)
		}
		assertRefused(t, filepath.Join(closed, "data"), mesh.ErrUnavailable, file.CodeAccess, closed, "permission denied")
	})
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestInspectFindsSecretsThatOthersMayRead(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	closeDir(t, d)
	if err := os.Chmod(d.AdminTokenPath(), 0o644); err != nil {
		t.Fatal(err)
	}
	expectCodes(t, inspect(t, path), file.CodeExposed)
}
