package etcd_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/backend/etcd"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/state/registry/registrytest"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const marker = "a value that is found in the file"

// filled makes a store that holds one value, and returns its directory and the value's revision.
func filled(t *testing.T) (string, mesh.Revision) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	e := openIn(t, dir)
	rev, err := e.Store().Commit(t.Context(), registry.Txn{Journal: []byte("j"),
		Writes: []registry.Write{{Key: "k", Data: []byte(marker)}}})
	if err != nil {
		t.Fatal(err)
	}
	closeEngine(t, e)
	return dir, rev
}

// tree returns the names and sizes of all files but the ballast.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			b.WriteString(path + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func firstFile(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("no file %s: %v", pattern, err)
	}
	return found[0]
}

// rewrite changes the content of a file.
func rewrite(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestADamagedDirectoryIsAClearError(t *testing.T) {
	db := filepath.Join("member", "snap", "db")
	for _, c := range []struct {
		name   string
		damage func(*testing.T, string)
		file   string
		code   string
	}{
		{"a database of another kind", func(t *testing.T, dir string) {
			t.Helper()
			rewrite(t, filepath.Join(dir, db), func(b []byte) []byte { return bytes.Repeat([]byte("toska!"), len(b)/6) })
		}, db, mesh.CodeStoreDamaged},
		{"a database whose end is missing", func(t *testing.T, dir string) {
			t.Helper()
			rewrite(t, filepath.Join(dir, db), func(b []byte) []byte { return b[:9000] })
		}, db, mesh.CodeStoreDamaged},
		{"a database whose pages are garbage", func(t *testing.T, dir string) {
			t.Helper()
			rewrite(t, filepath.Join(dir, db), func(b []byte) []byte {
				head := 2 * os.Getpagesize()
				return append(b[:head:head], bytes.Repeat([]byte{0xff}, len(b)-head)...)
			})
		}, db, mesh.CodeStoreDamaged},
		{"a log whose middle is garbage", func(t *testing.T, dir string) {
			t.Helper()
			rewrite(t, firstFile(t, filepath.Join(dir, "member", "wal", "*-*.wal")), func(b []byte) []byte {
				copy(b[40:], bytes.Repeat([]byte{0xa5}, 40))
				return b
			})
		}, "", mesh.CodeStoreDamaged},
		{"a log that is missing", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.RemoveAll(filepath.Join(dir, "member", "wal")); err != nil {
				t.Fatal(err)
			}
		}, "wal", mesh.CodeStoreDamaged},
		{"a foreign directory", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.RemoveAll(filepath.Join(dir, "member")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "photo.jpg"), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "photo.jpg", mesh.CodeStoreFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, _ := filled(t)
			c.damage(t, dir)
			before := tree(t, dir)
			e, err := etcd.Open(t.Context(), etcd.Config{Dir: dir, Log: logTo(t), Ballast: -1, MinFree: -1})
			if err == nil {
				closeEngine(t, e)
				t.Fatal("Open succeeded")
			}
			t.Log(err)
			if mesh.CodeOf(err) != c.code || !errors.Is(err, mesh.ErrUnavailable) {
				t.Errorf("code = %s, want %s", mesh.CodeOf(err), c.code)
			}
			if !strings.Contains(err.Error(), filepath.Join(dir, c.file)) && !strings.Contains(err.Error(), c.file) {
				t.Errorf("%v does not name %s", err, c.file)
			}
			for line := range strings.Lines(before) {
				if path := strings.TrimSpace(line); !exists(path) {
					t.Errorf("%s was removed", path)
				}
			}
		})
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestATornTailOfTheLogLosesNothingAcknowledged(t *testing.T) { // D-4
	dir, rev := filled(t)
	// A torn record: a length that promises more than is there, after the last good one.
	rewrite(t, firstFile(t, filepath.Join(dir, "member", "wal", "*-*.wal")), func(b []byte) []byte {
		end := len(bytes.TrimRight(b, "\x00"))
		end += (8 - end%8) % 8
		copy(b[end:], []byte{0xf0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3})
		return b[:end+11]
	})
	s := openIn(t, dir).Store()
	_, values, err := s.Load(t.Context())
	if err != nil || len(values) != 1 || values[0].Revision != rev {
		t.Errorf("Load = %v, %v, want the one value at %s", values, err, rev)
	}
}

func TestAFlippedBitInTheFileReachesTheChecksum(t *testing.T) { // D-5
	dir, _ := filled(t)
	path := filepath.Join(dir, "member", "snap", "db")
	n := 0
	rewrite(t, path, func(b []byte) []byte {
		for i := bytes.Index(b, []byte(marker)); i >= 0; {
			b[i] ^= 1
			n++
			if next := bytes.Index(b[i+1:], []byte(marker)); next >= 0 {
				i += 1 + next
			} else {
				i = -1
			}
		}
		return b
	})
	if n == 0 {
		t.Fatal("the value is not in the file")
	}
	_, values, err := openIn(t, dir).Store().Load(t.Context())
	if err != nil || len(values) != 1 || string(values[0].Data) == marker {
		t.Errorf("Load = %q, %v, want the flipped value: then only a checksum of our own can tell", values, err)
	}
}

func TestASecondEngineInTheSameDirectoryIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	openIn(t, dir)
	_, err := etcd.Open(t.Context(), etcd.Config{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "another process has it open") {
		t.Errorf("Open = %v, want it to say that the store is open elsewhere", err)
	}
}

func TestAnUnusableDirectoryIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := etcd.Open(t.Context(), etcd.Config{Dir: filepath.Join(file, "store")})
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("Open = %v, want it to name %s", err, file)
	}
}

func TestAfterCloseEveryCallIsUnavailable(t *testing.T) {
	e := openIn(t, filepath.Join(t.TempDir(), "store"))
	s := e.Store()
	rev, _, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		for _, err := range s.Watch(t.Context(), rev) {
			ended <- err
			return
		}
		ended <- nil
	}()
	closeEngine(t, e)
	closeEngine(t, e)
	if err := <-ended; !errors.Is(err, mesh.ErrUnavailable) {
		t.Errorf("the watch ended with %v, want ErrUnavailable", err)
	}
	if _, _, err := s.Load(t.Context()); !errors.Is(err, mesh.ErrUnavailable) {
		t.Errorf("Load = %v, want ErrUnavailable", err)
	}
	if _, err := s.Commit(t.Context(), registry.Txn{}); !errors.Is(err, mesh.ErrUnavailable) {
		t.Errorf("Commit = %v, want ErrUnavailable", err)
	}
	if err := e.Failed(); err != nil {
		t.Errorf("an orderly close is a failure: %v", err)
	}
	<-e.Done()
}

func TestTheEngineListensNowhere(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("this reads /proc/self/net: run it on linux")
	}
	before := listening(t)
	openIn(t, filepath.Join(t.TempDir(), "store"))
	if after := listening(t); after > before {
		t.Errorf("the process listens on %d sockets, %d before the engine", after, before)
	}
}

// listening counts the listening sockets of this process's network that belong to this process.
func listening(t *testing.T) int {
	t.Helper()
	mine := map[string]bool{}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		link, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if inode, ok := strings.CutPrefix(link, "socket:["); err == nil && ok {
			mine[strings.TrimSuffix(inode, "]")] = true
		}
	}
	n := 0
	for _, table := range []string{"tcp", "tcp6", "unix"} {
		data, err := os.ReadFile("/proc/self/net/" + table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			switch {
			case table == "unix" && len(f) > 6 && f[3] == "00010000" && mine[f[6]]:
				n++
			case table != "unix" && len(f) > 9 && f[3] == "0A" && mine[f[9]]:
				n++
			}
		}
	}
	return n
}

func TestAStartIsQuick(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	for _, what := range []string{"first", "second"} {
		began := time.Now()
		e := openIn(t, dir)
		opened := time.Since(began)
		began = time.Now()
		closeEngine(t, e)
		t.Logf("%s start %s, close %s", what, opened, time.Since(began))
		if opened > 5*time.Second {
			t.Errorf("the %s start took %s", what, opened)
		}
	}
}

// A compile-time check that the suite can cut the history.
var _ registrytest.Compacter = (*etcd.Store)(nil)
