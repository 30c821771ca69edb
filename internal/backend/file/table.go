package file

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/toska-mesh/toska-mesh/internal/util/atomicfile"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Table is where the gateway's last good snapshot lies, tables/last.json in the data directory.
type Table struct{ path string }

// Table returns the place of the last good snapshot.
func (d *Dir) Table() *Table { return TableIn(d.path) }

// TableIn returns that place in the data directory dir, which need be neither open nor there.
func TableIn(dir string) *Table { return &Table{path: filepath.Join(dir, tablesName, "last.json")} }

// savedTable is the file: the snapshot and its checksum, by which a torn or flipped file is told.
type savedTable struct {
	CRC32C   uint32          `json:"crc32c"`
	Snapshot json.RawMessage `json:"snapshot"`
}

// Save replaces the snapshot. A reader finds the old one or the new one, whole.
func (t *Table) Save(snap *mesh.Snapshot) error {
	body, err := json.Marshal(snap)
	if err != nil {
		return fmt.Errorf("encode the table: %w", err)
	}
	data, err := json.Marshal(savedTable{CRC32C: crc32.Checksum(body, castagnoli()), Snapshot: body})
	if err != nil {
		return fmt.Errorf("encode the table: %w", err)
	}
	if err := atomicfile.Write(t.path, data, 0o600); err != nil {
		return fmt.Errorf("save the table to %s: %w", t.path, err)
	}
	return nil
}

// Load returns what was saved last; nil without an error when there is nothing.
func (t *Table) Load() (*mesh.Snapshot, error) {
	data, err := os.ReadFile(t.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the saved table: %w", err)
	}
	var saved savedTable
	if err := json.Unmarshal(data, &saved); err != nil {
		return nil, fmt.Errorf("read the saved table %s: %w; it is written anew once discovery answers", t.path, err)
	}
	if crc32.Checksum(saved.Snapshot, castagnoli()) != saved.CRC32C {
		return nil, fmt.Errorf("read the saved table %s: its checksum is wrong; it is written anew once discovery answers", t.path)
	}
	var snap mesh.Snapshot
	if err := json.Unmarshal(saved.Snapshot, &snap); err != nil {
		return nil, fmt.Errorf("read the saved table %s: %w", t.path, err)
	}
	return &snap, nil
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }
