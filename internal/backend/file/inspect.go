package file

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/toska-mesh/toska-mesh/internal/util/filelock"
)

// State is what Inspect finds of a data directory.
type State struct {
	// Path is absolute.
	Path string
	// Exists is false if nothing is there yet: the first start makes it.
	Exists bool
	// Held is true while a process has the directory open.
	Held bool
	// Holder is that process as the lock file tells it, "process 42 (control 127.0.0.1:5010)"; empty if
	// it tells nothing.
	Holder string
	// Problems are what a start would refuse, or an operator should repair, each a mesh.Error.
	Problems []error
}

// Inspect looks at a data directory and changes nothing in it, whether a node runs on it or not. A node
// that starts in the very moment of its look at the lock may take the directory for held.
func Inspect(path string) (State, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return State{}, err
	}
	st := State{Path: abs}
	info, err := os.Stat(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		st.Problems = append(st.Problems, access("open", abs, err))
		return st, nil
	}
	st.Exists = true
	if !info.IsDir() {
		st.Problems = append(st.Problems, create(abs))
		return st, nil
	}
	st.note(checkFormat(abs))
	st.Held, st.Holder = heldBy(filepath.Join(abs, lockName), &st)
	for _, secret := range []struct{ name, mode string }{{"", "700"}, {adminName, "600"}, {serviceName, "600"}} {
		if err := checkPrivate(filepath.Join(abs, secretsName, secret.name), secret.mode); !errors.Is(err, fs.ErrNotExist) {
			st.note(err)
		}
	}
	return st, nil
}

func (st *State) note(err error) {
	if err != nil {
		st.Problems = append(st.Problems, err)
	}
}

// heldBy tries the lock and lets go of it at once.
func heldBy(path string, st *State) (held bool, holderName string) {
	held, err := filelock.Held(path)
	if err != nil {
		st.note(access("look at the lock", path, err))
	}
	if !held {
		return false, ""
	}
	var h holder
	if data, err := os.ReadFile(path); err == nil && json.Unmarshal(data, &h) == nil && h.PID > 0 {
		return true, h.String()
	}
	return true, ""
}
