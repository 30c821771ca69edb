package file

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// lockOffset lies far behind the file's content: locked bytes cannot be read by others, and a second
// process wants to read who holds the lock.
const lockOffset = 1 << 20

func lockFile(f *os.File) error {
	at := &windows.Overlapped{Offset: lockOffset}
	err := windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errLocked
	}
	return err
}

// exposed is false: permissions are inherited from the directory, and mode bits do not tell them.
func exposed(fs.FileInfo) bool { return false }

func readOnly(err error) bool { return errors.Is(err, windows.ERROR_WRITE_PROTECT) }

func diskFull(err error) bool { return errors.Is(err, windows.ERROR_DISK_FULL) }
