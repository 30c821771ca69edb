//go:build unix

package file

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

func lockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return err
}

func exposed(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }

func readOnly(err error) bool { return errors.Is(err, syscall.EROFS) }

func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
