//go:build unix

package diskspace

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func free(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("ask for the free space at %s: %w", path, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
