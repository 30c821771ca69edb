package pointer

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// places returns where pointers may be: below the user's local application data, which other users
// cannot open.
func places() []string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil
	}
	return []string{filepath.Join(dir, "toska", "nodes")}
}

// private returns an error unless path is a file or directory and not a link. Who may open it is
// inherited from the user's own directory.
func private(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is neither a file nor a directory", path)
	}
	return nil
}

// queryLimitedInformation is the least right that tells whether a process has ended, and stillActive
// is the exit code of one that has not.
const (
	queryLimitedInformation = 0x1000
	stillActive             = 259
)

func processLives(pid int) bool {
	h, err := syscall.OpenProcess(queryLimitedInformation, false, uint32(pid))
	if err != nil {
		return false
	}
	defer func() { _ = syscall.CloseHandle(h) }()
	var code uint32
	return syscall.GetExitCodeProcess(h, &code) == nil && code == stillActive
}
