// Package diskspace tells how much room a disk has left.
package diskspace

// Free returns the bytes that this user may still write to the disk that holds path.
func Free(path string) (int64, error) { return free(path) }
