package file_test

import (
	"os"
	"runtime"
	"syscall"
	"testing"
)

// asUser runs f as one whom permissions bind. Under root it is another user for the file system, on
// this thread only, and dir is given to it.
func asUser(t *testing.T, dir string, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	const nobody = 65534
	for parent := dir; len(parent) > len(os.TempDir()); parent = parent[:lastSlash(parent)] {
		if err := os.Chown(parent, nobody, -1); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setfsuid(0); err != nil {
			t.Error(err)
		}
	}()
	f()
}

func lastSlash(s string) int {
	for i := len(s) - 1; i > 0; i-- {
		if s[i] == '/' {
			return i
		}
	}
	return 0
}
