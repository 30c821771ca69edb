//go:build unix

package openfiles

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

func limit() (int, error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, fmt.Errorf("ask for the limit of open files: %w", err)
	}
	return int(min(uint64(lim.Cur), math.MaxInt32)), nil
}
