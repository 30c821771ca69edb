//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// holdStore keeps the store of a data directory from being opened until release is called, as a disk
// does that takes its time. The lock is shared, so that the node may look at the database, and then
// waits to have it for itself.
func holdStore(dir string) (release func() error, err error) {
	path := filepath.Join(dir, "store", "member", "snap", "db")
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("hold the store: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("hold the store %s: %w", path, err), f.Close())
	}
	return f.Close, nil
}
