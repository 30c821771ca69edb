// Package filelock locks files between processes. The operating system lets go of a lock when its process
// ends, however it ends, so that nothing has to be cleaned up.
//
// # Concurrency
//
// Functions keep no state. A lock belongs to the open file: two files opened in one process exclude each
// other too.
package filelock

import (
	"errors"
	"fmt"
	"os"
)

// Name is the file in a data directory that its node keeps locked.
const Name = "lock"

// ErrLocked is the word that the lock is held through another open file.
var ErrLocked = errors.New("locked by another process")

// Lock takes the lock of f, which is held until f is closed. It does not wait: ErrLocked when another has
// it. A Held elsewhere may be in the way for a moment.
func Lock(f *os.File) error { return lock(f, true) }

// Held reports whether anyone holds the lock of the file at path. A file that is not there is not locked.
func Held(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at a lock: %w", err)
	}
	defer func() { _ = f.Close() }()
	switch err := lock(f, false); {
	case errors.Is(err, ErrLocked):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("look at the lock %s: %w", path, err)
	}
	return false, nil
}
