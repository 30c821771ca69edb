package file

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/util/filelock"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	// lockTries and lockPause are how often and how far apart the lock is tried: somebody who only looks
	// whether it is held is in the way for less, and so is a process that was killed and is being put away.
	lockTries = 75
	lockPause = 20 * time.Millisecond
)

// holder is what the lock file tells of the process that holds it.
type holder struct {
	PID       int               `json:"pid"`
	Addresses map[string]string `json:"addresses,omitempty"`
}

// lock is held as long as its file is open: the operating system lets go of it when the process ends,
// however it ends, so that nothing has to be cleaned up.
type lock struct {
	path string
	mu   sync.Mutex // guards f
	f    *os.File   // nil once released
}

func acquire(path string) (*lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, access("open", path, err)
	}
	err = filelock.Lock(f)
	for try := 1; try < lockTries && errors.Is(err, filelock.ErrLocked); try++ {
		time.Sleep(lockPause)
		err = filelock.Lock(f)
	}
	if err != nil {
		defer func() { _ = f.Close() }()
		if errors.Is(err, filelock.ErrLocked) {
			return nil, inUse(path)
		}
		return nil, access("lock", path, err)
	}
	l := &lock{path: path, f: f}
	if err := l.describe(nil); err != nil {
		return nil, errors.Join(err, l.release())
	}
	return l, nil
}

// describe replaces what the file says of its holder.
func (l *lock) describe(addresses map[string]string) error {
	data, err := json.Marshal(holder{PID: os.Getpid(), Addresses: addresses})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return fmt.Errorf("write %s: %w", l.path, os.ErrClosed)
	}
	// In place: replacing the file would leave the lock on the old one.
	if err := l.f.Truncate(0); err != nil {
		return access("write", l.path, err)
	}
	if _, err := l.f.WriteAt(append(data, '\n'), 0); err != nil {
		return access("write", l.path, err)
	}
	return nil
}

func (l *lock) release() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	if err != nil {
		return fmt.Errorf("release %s: %w", l.path, err)
	}
	return nil
}

func inUse(path string) error {
	who := "another process"
	var h holder
	if data, err := os.ReadFile(path); err == nil && json.Unmarshal(data, &h) == nil && h.PID > 0 {
		who = h.String()
	}
	return &mesh.Error{Kind: mesh.ErrConflict, Code: CodeInUse, Detail: fmt.Sprintf(
		"the data directory %s is in use by %s: use that node, stop it, or choose another data directory with --data", filepath.Dir(path), who)}
}

// String names the process and its addresses.
func (h holder) String() string {
	s := fmt.Sprintf("process %d", h.PID)
	var parts []string
	for name, addr := range h.Addresses {
		parts = append(parts, name+" "+addr)
	}
	if len(parts) > 0 {
		slices.Sort(parts)
		s += " (" + strings.Join(parts, ", ") + ")"
	}
	return s
}
