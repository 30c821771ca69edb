package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// formatVersion is the layout that this version writes and reads.
const formatVersion = 1

// checkFormat returns an error unless the directory is empty or of a format that we know.
func checkFormat(dir string) error {
	path := filepath.Join(dir, formatName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return checkEmpty(dir)
	}
	if err != nil {
		return access("read", path, err)
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(data)))
	switch {
	case err != nil || v < 1:
		return damaged(path, fmt.Sprintf("holds %q where the version of the data format should be", clip(data)),
			"restore the file from a backup of this directory, or choose another data directory with --data")
	case v > formatVersion:
		return &mesh.Error{Kind: mesh.ErrInvalid, Code: CodeNewer, Detail: fmt.Sprintf(
			"the data directory %s has format %d and this toska knows formats up to %d; it was left untouched: "+
				"run the newer toska that wrote it, or choose another data directory with --data", dir, v, formatVersion)}
	}
	return nil
}

// checkEmpty returns an error if the directory holds anything but the lock of a first start that got
// no further, or what file systems put there by themselves.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return access("read", dir, err)
	}
	for _, e := range entries {
		if e.Name() == lockName || e.Name() == "lost+found" {
			continue
		}
		return &mesh.Error{Kind: mesh.ErrInvalid, Code: CodeForeign, Detail: fmt.Sprintf(
			"%s is not a toska data directory: it holds %s and no file %q; it was left untouched: "+
				"choose an empty or a new directory with --data", dir, e.Name(), formatName)}
	}
	return nil
}

func writeFormat(dir string) error {
	path := filepath.Join(dir, formatName)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return write(path, []byte(strconv.Itoa(formatVersion)+"\n"))
}

// clip shortens what is shown of a file that holds something else.
func clip(data []byte) string {
	const most = 40
	if len(data) > most {
		return string(data[:most]) + "…"
	}
	return string(data)
}
