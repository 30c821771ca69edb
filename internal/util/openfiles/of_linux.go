package openfiles

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
)

func of(pid int) (open, most int, err error) {
	dir := "/proc/" + strconv.Itoa(pid)
	limits, err := os.ReadFile(dir + "/limits")
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the open files of process %d: %w", pid, err)
	}
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the open files of process %d: %w", pid, err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(limits)); lines.Scan(); {
		row, ok := strings.CutPrefix(lines.Text(), "Max open files")
		if fields := strings.Fields(row); ok && len(fields) > 0 {
			return len(fds), number(fields[0]), nil
		}
	}
	return 0, 0, ErrUnknown
}

func number(s string) int {
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	return math.MaxInt32 // unlimited
}
