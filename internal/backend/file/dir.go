// Package file is the data directory: its lock, its format version, the node's identity and secrets,
// and the places where the other backends keep their files.
//
// Opening a directory never deletes anything, and leaves one that it refuses as it was.
//
// # Concurrency
//
// A Dir is immutable after Open but for its lock, whose methods are safe for concurrent use. Between
// processes the lock keeps a second one out.
package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/toska-mesh/toska-mesh/internal/util/atomicfile"
	"github.com/toska-mesh/toska-mesh/internal/util/filelock"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Codes of the errors of this package, each with what to do in its detail.
const (
	// CodeInUse is a directory that another process holds.
	CodeInUse = "TOSKA-DATA-IN-USE"
	// CodeForeign is a directory that holds something else.
	CodeForeign = "TOSKA-DATA-FOREIGN"
	// CodeNewer is a directory written by a newer version.
	CodeNewer = "TOSKA-DATA-NEWER"
	// CodeDamaged is a file that does not hold what it should.
	CodeDamaged = "TOSKA-DATA-DAMAGED"
	// CodeAccess is a file or directory that this process may not use.
	CodeAccess = "TOSKA-DATA-ACCESS"
	// CodeExposed is a secret that other users may read.
	CodeExposed = "TOSKA-DATA-EXPOSED"
)

const (
	lockName    = filelock.Name
	formatName  = "format"
	nodeName    = "node.json"
	storeName   = "store"
	tablesName  = "tables"
	secretsName = "secrets"
	adminName   = "admin.token"
	serviceName = "service.token"
)

// Dir is an open data directory. Close it to let another process in.
type Dir struct {
	path    string
	lock    *lock
	nodeID  string
	admin   string
	service string
}

// Open opens the data directory at path for this process alone, and makes it first if nothing is
// there. Errors are mesh.Errors: ErrConflict when another process holds it, ErrInvalid when it is not
// ours, newer or damaged, ErrUnavailable when it cannot be read or written.
func Open(path string) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open the data directory: %w", err)
	}
	if err := create(abs); err != nil {
		return nil, err
	}
	if err := checkFormat(abs); err != nil {
		return nil, err
	}
	l, err := acquire(filepath.Join(abs, lockName))
	if err != nil {
		return nil, err
	}
	d := &Dir{path: abs, lock: l}
	if err := d.load(); err != nil {
		return nil, errors.Join(err, l.release())
	}
	return d, nil
}

func (d *Dir) load() error {
	// Again under the lock: another process may have made or changed the directory meanwhile.
	if err := checkFormat(d.path); err != nil {
		return err
	}
	if err := writeFormat(d.path); err != nil {
		return err
	}
	for _, dir := range []string{d.StorePath(), d.TablesPath(), d.secretsPath()} {
		if err := create(dir); err != nil {
			return err
		}
	}
	var err error
	if d.nodeID, err = loadNode(filepath.Join(d.path, nodeName), d.StorePath()); err != nil {
		return err
	}
	d.admin, d.service, err = loadSecrets(d.secretsPath())
	return err
}

// Path returns the absolute path of the directory.
func (d *Dir) Path() string { return d.path }

// NodeID returns the node's identity, made once and kept.
func (d *Dir) NodeID() string { return d.nodeID }

// AdminToken returns the secret that proves an admin.
func (d *Dir) AdminToken() string { return d.admin }

// ServiceToken returns the secret that proves a service.
func (d *Dir) ServiceToken() string { return d.service }

// AdminTokenPath returns the file that holds the admin token.
func (d *Dir) AdminTokenPath() string { return filepath.Join(d.secretsPath(), adminName) }

// StorePath returns the directory of the store's engine.
func (d *Dir) StorePath() string { return filepath.Join(d.path, storeName) }

// TablesPath returns the directory of the gateway's last good tables.
func (d *Dir) TablesPath() string { return filepath.Join(d.path, tablesName) }

func (d *Dir) secretsPath() string { return filepath.Join(d.path, secretsName) }

// Announce writes the node's addresses into the lock, so that a second process can tell who holds it.
func (d *Dir) Announce(addresses map[string]string) error { return d.lock.describe(addresses) }

// Close lets another process open the directory. It may be called more than once.
func (d *Dir) Close() error { return d.lock.release() }

// create makes the directory, for its owner alone, unless it is there.
func create(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &mesh.Error{Kind: mesh.ErrInvalid, Code: CodeForeign, Detail: fmt.Sprintf(
			"%s is a file, and a directory is needed there; move it away, or choose another data directory with --data", dir)}
	case !errors.Is(err, fs.ErrNotExist):
		return access("open", dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return access("create", dir, err)
	}
	return nil
}

// access explains an error of the operating system on path.
func access(op, path string, err error) error {
	hint := "look at the disk and the file system there, or choose another data directory with --data"
	switch {
	case errors.Is(err, fs.ErrPermission):
		hint = "let the user that runs toska read and write there (chown, chmod), or choose another data directory with --data"
	case readOnly(err):
		hint = "the file system is mounted read-only: choose another data directory with --data"
	case diskFull(err):
		hint = "the disk is full: make room, or choose another data directory with --data"
	}
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: CodeAccess, Cause: err,
		Detail: fmt.Sprintf("%s %s: %v; %s", op, path, bare(err), hint)}
}

// bare returns the reason without the path, which the message names already.
func bare(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	if le, ok := errors.AsType[*os.LinkError](err); ok {
		return le.Err
	}
	return err
}

func damaged(path, problem, remedy string) error {
	return &mesh.Error{Kind: mesh.ErrInvalid, Code: CodeDamaged,
		Detail: fmt.Sprintf("%s %s; nothing was changed: %s", path, problem, remedy)}
}

func write(path string, data []byte) error {
	if err := atomicfile.Write(path, data, 0o600); err != nil {
		return access("write", path, err)
	}
	return nil
}
