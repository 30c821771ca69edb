package etcd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// lockPatience is how long another process may take to let go of the database file.
const lockPatience = 500 * time.Millisecond

// inspect looks at the directory before the engine does, which would take the process with it on some
// of what is found here.
func (e *Engine) inspect() error {
	dir := e.cfg.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return refused(dir, err, "name another data directory")
	}
	if err := tryWriting(dir); err != nil {
		return refused(dir, err, "make it writable, or name another data directory")
	}
	member := filepath.Join(dir, "member")
	if _, err := os.Stat(member); errors.Is(err, fs.ErrNotExist) {
		return refuseForeign(dir)
	} else if err != nil {
		return refused(member, err, "make it readable")
	}
	db := filepath.Join(member, "snap", "db")
	if _, err := os.Stat(filepath.Join(member, "wal")); err != nil {
		return damaged(filepath.Join(member, "wal"), err)
	}
	if err := readableFiles(member); err != nil {
		return err
	}
	return inspectDatabase(db)
}

// Look reads the store in dir without its engine and changes nothing. It returns nil for one that is sound, or not
// there yet, otherwise a mesh.Error that says what is wrong and what to do.
func Look(dir string) error {
	db := filepath.Join(dir, "member", "snap", "db")
	result := make(chan error, 1)
	go func() {
		debug.SetPanicOnFault(true) // of this goroutine: a damaged file may be a fault
		defer func() {
			if p := recover(); p != nil {
				result <- damaged(db, fmt.Errorf("a page of it is damaged: %v", p))
			}
		}()
		result <- inspectDatabase(db)
	}()
	return <-result
}

// tryWriting makes and removes a file.
func tryWriting(dir string) error {
	f, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// refuseForeign refuses to make a store among the files of others.
func refuseForeign(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return refused(dir, err, "make it readable")
	}
	for _, entry := range entries {
		if entry.Name() != ballastName {
			return refused(dir, fmt.Errorf("it holds %s, which is no part of a store", entry.Name()),
				"name an empty directory")
		}
	}
	return nil
}

// readableFiles opens each file of the engine, so that one with wrong permissions is named.
func readableFiles(member string) error {
	return filepath.WalkDir(member, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return refused(path, err, "make it readable")
		}
		if d.IsDir() {
			return nil
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return refused(path, err, "make it readable and writable")
		}
		return f.Close()
	})
}

// inspectDatabase reads the head of the database file. A file that is shorter than its head says would
// be a memory fault later.
func inspectDatabase(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err != nil {
		return refused(path, err, "make it readable")
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockPatience})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return refused(path, errors.New("another process has it open"), "stop that process, or name another data directory")
	case err != nil:
		return damaged(path, err)
	}
	var size int64
	err = db.View(func(tx *bbolt.Tx) error {
		if size = tx.Size(); info.Size() < size {
			return fmt.Errorf("it has %d bytes and should have %d: its end is missing", info.Size(), size)
		}
		return walk(tx)
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return damaged(path, err)
	}
	return nil
}

// walk visits every page that is in use. On a damaged one the database panics: here, where that is an
// error, and not on a goroutine of its own, where it would be the end of the process.
func walk(tx *bbolt.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a page of it is damaged: %v", p)
		}
	}()
	return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
		return b.ForEach(func(_, _ []byte) error { return nil })
	})
}
