package file

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/windows"
)

// exposed is false: permissions are inherited from the directory, and mode bits do not tell them.
func exposed(fs.FileInfo) bool { return false }

func readOnly(err error) bool { return errors.Is(err, windows.ERROR_WRITE_PROTECT) }

func diskFull(err error) bool { return errors.Is(err, windows.ERROR_DISK_FULL) }
