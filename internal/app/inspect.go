package app

import (
	"github.com/toska-mesh/toska-mesh/internal/backend/etcd"
	"github.com/toska-mesh/toska-mesh/internal/backend/file"
)

// DataState is what a look at a data directory finds.
type DataState = file.State

// InspectData looks at a data directory without opening it.
func InspectData(path string) (DataState, error) { return file.Inspect(path) }

// LeastFree is how many bytes the disk of the data directory must have free for the store to take writes.
func LeastFree() int64 { return etcd.DefaultConfig("").MinFree }
