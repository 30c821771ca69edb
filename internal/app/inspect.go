package app

import (
	"path/filepath"

	"github.com/toska-mesh/toska-mesh/internal/backend/etcd"
	"github.com/toska-mesh/toska-mesh/internal/backend/file"
)

// DataState is what a look at a data directory finds.
type DataState = file.State

// InspectData looks at a data directory without opening it, and at its store if no node has it open.
func InspectData(path string) (DataState, error) {
	st, err := file.Inspect(path)
	if err != nil || !st.Exists || st.Held || len(st.Problems) > 0 {
		return st, err
	}
	if err := etcd.Look(filepath.Join(st.Path, "store")); err != nil {
		st.Problems = append(st.Problems, err)
	}
	return st, nil
}

// LeastFree is how many bytes the disk of the data directory must have free for the store to take writes.
func LeastFree() int64 { return etcd.DefaultConfig("").MinFree }
