//go:build !unix

package atomicfile

// syncDir does nothing: directories cannot be synced here, and the file system journals renames.
func syncDir(string) error { return nil }
