package etcd_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/toska-mesh/toska-mesh/internal/backend/etcd"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const mib = 1 << 20

// smallDisk mounts a file system of 64 MiB, of the test's own.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("toska-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d", 64*mib))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Skip("mounting a small file system needs CAP_SYS_ADMIN: run the tests as root, or under unshare -rm")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func free(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// fillTo leaves the given space on the disk, and returns what gives the rest back.
func fillTo(t *testing.T, dir string, leave int64) func() {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for free(t, dir) > leave {
		if _, err := f.Write(block[:min(int64(len(block)), free(t, dir)-leave)]); err != nil {
			break
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func one(key string, size int) registry.Txn {
	return registry.Txn{Journal: []byte(key), Writes: []registry.Write{{Key: key, Data: bytes.Repeat([]byte("x"), size)}}}
}

func TestAFullDiskRefusesWritesAndKeepsTheData(t *testing.T) { // D-1
	disk := smallDisk(t)
	cfg := etcd.Config{Dir: filepath.Join(disk, "store"), Log: logTo(t), MinFree: 8 * mib, Ballast: -1}
	e, err := etcd.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeEngine(t, e) })
	s := e.Store()
	if _, err := s.Commit(t.Context(), one("before", 100)); err != nil {
		t.Fatal(err)
	}
	giveBack := fillTo(t, disk, 4*mib)
	for range 3 {
		if _, err := s.Commit(t.Context(), one("during", 100)); mesh.CodeOf(err) != mesh.CodeStoreFull {
			t.Fatalf("Commit on a full disk = %v, want %s", err, mesh.CodeStoreFull)
		}
	}
	if _, values, err := s.Load(t.Context()); err != nil || len(values) != 1 {
		t.Errorf("Load on a full disk = %v, %v, want what was there", values, err)
	}
	if err := e.Failed(); err != nil {
		t.Errorf("the engine failed: %v", err)
	}
	giveBack()
	if _, err := s.Commit(t.Context(), one("after", 100)); err != nil {
		t.Errorf("Commit with space again = %v", err)
	}
	closeEngine(t, e)
	again, err := etcd.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer closeEngine(t, again)
	if _, values, err := again.Store().Load(t.Context()); err != nil || len(values) != 2 {
		t.Errorf("Load after a restart = %v, %v, want before and after", values, err)
	}
}

func TestAFailedDiskEndsTheEngineAndNotTheProcess(t *testing.T) { // D-1, D-2
	disk := smallDisk(t)
	dir := filepath.Join(disk, "store")
	// Without the guard the engine runs into the full disk itself.
	e, err := etcd.Open(t.Context(), etcd.Config{Dir: dir, MinFree: -1, Ballast: -1})
	if err != nil {
		t.Fatal(err)
	}
	fillTo(t, disk, 0)
	s := e.Store()
	acknowledged := 0
	for ; acknowledged < 2000; acknowledged++ {
		if _, err = s.Commit(t.Context(), one(fmt.Sprintf("k%d", acknowledged), 64<<10)); err != nil {
			break
		}
	}
	t.Logf("%d acknowledged, then: %v", acknowledged, err)
	if !errors.Is(err, mesh.ErrUnavailable) {
		t.Fatalf("Commit = %v, want ErrUnavailable", err)
	}
	select {
	case <-e.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the engine did not fail")
	}
	if mesh.CodeOf(e.Failed()) != mesh.CodeStoreFailed {
		t.Errorf("Failed = %v, want %s", e.Failed(), mesh.CodeStoreFailed)
	}
	if _, err := s.Commit(t.Context(), one("later", 1)); mesh.CodeOf(err) != mesh.CodeStoreFailed {
		t.Errorf("Commit on a failed engine = %v, want %s", err, mesh.CodeStoreFailed)
	}
	if _, _, err := s.Load(t.Context()); mesh.CodeOf(err) != mesh.CodeStoreFailed {
		t.Errorf("Load on a failed engine = %v, want %s", err, mesh.CodeStoreFailed)
	}
	for _, err := range s.Watch(t.Context(), mesh.Revision{}) {
		if mesh.CodeOf(err) != mesh.CodeStoreFailed {
			t.Errorf("Watch on a failed engine = %v, want %s", err, mesh.CodeStoreFailed)
		}
	}
	closeEngine(t, e)

	// The failed engine holds its files until the process ends: a copy stands for the next process.
	saved := filepath.Join(t.TempDir(), "store")
	if err := os.CopyFS(saved, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	_, values, err := openIn(t, saved).Store().Load(t.Context())
	if err != nil || len(values) < acknowledged {
		t.Errorf("after a restart %d values are there (%v), %d were acknowledged", len(values), err, acknowledged)
	}
}

func TestTheBallastIsGivenUpAndTakenAgain(t *testing.T) {
	disk := smallDisk(t)
	cfg := etcd.Config{Dir: disk, MinFree: 20 * mib, Ballast: 4 * mib}
	ballast := filepath.Join(disk, "ballast")
	etcd.Tend(cfg, logTo(t))
	if info, err := os.Stat(ballast); err != nil || info.Size() != 4*mib {
		t.Fatalf("the ballast is %v, %v, want 4 MiB", info, err)
	}
	giveBack := fillTo(t, disk, 18*mib)
	etcd.Tend(cfg, logTo(t))
	if !exists(ballast) {
		t.Error("the ballast was given up before the disk was nearly full")
	}
	giveBack()
	giveBack = fillTo(t, disk, 2*mib)
	etcd.Tend(cfg, logTo(t))
	if exists(ballast) || free(t, disk) < 6*mib {
		t.Errorf("the ballast is still there, with %d MiB free", free(t, disk)/mib)
	}
	etcd.Tend(cfg, logTo(t))
	if exists(ballast) {
		t.Error("the ballast was taken again on a nearly full disk")
	}
	giveBack()
	etcd.Tend(cfg, logTo(t))
	if !exists(ballast) {
		t.Error("the ballast was not taken again when there was space")
	}
}

func TestAReadOnlyDiskIsNamed(t *testing.T) { // D-3
	disk := smallDisk(t)
	dir := filepath.Join(disk, "store")
	closeEngine(t, openIn(t, dir))
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err := etcd.Open(t.Context(), etcd.Config{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), dir) || !errors.Is(err, unix.EROFS) {
		t.Errorf("Open = %v, want it to name %s as read-only", err, dir)
	}
}
