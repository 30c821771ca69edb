//go:build unix

package file

import (
	"errors"
	"io/fs"
	"syscall"
)

func exposed(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }

func readOnly(err error) bool { return errors.Is(err, syscall.EROFS) }

func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
