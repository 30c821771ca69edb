package diskspace

import (
	"fmt"

	"golang.org/x/sys/windows"
)

func free(path string) (int64, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, fmt.Errorf("ask for the free space at %s: %w", path, err)
	}
	var left uint64
	if err := windows.GetDiskFreeSpaceEx(name, &left, nil, nil); err != nil {
		return 0, fmt.Errorf("ask for the free space at %s: %w", path, err)
	}
	return int64(min(left, 1<<62)), nil
}
