package file

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/util/atomicfile"
)

// Config is where the last good configuration file lies, tables/config.json in a data directory.
type Config struct{ path string }

// ConfigIn returns the place in the data directory dir, which need be neither open nor there.
func ConfigIn(dir string) *Config {
	return &Config{path: filepath.Join(dir, tablesName, "config.json")}
}

// savedConfig is the file.
type savedConfig struct {
	File   string    `json:"file"`
	ReadAt time.Time `json:"readAt"`
	CRC32C uint32    `json:"crc32c"`
	Text   []byte    `json:"text"`
}

// Save replaces what was kept, by the text of the configuration file that is called name. The directory must be
// there.
func (c *Config) Save(name string, text []byte, readAt time.Time) error {
	data, err := json.Marshal(savedConfig{File: name, ReadAt: readAt.UTC(), CRC32C: crc32.Checksum(text, castagnoli()), Text: text})
	if err != nil {
		return fmt.Errorf("encode the configuration: %w", err)
	}
	if err := atomicfile.Write(c.path, data, 0o600); err != nil {
		return fmt.Errorf("keep the configuration in %s: %w", c.path, err)
	}
	return nil
}

// Load returns the text that was kept of the configuration file that is called name, and when it was read; false
// if there is none, or none of that name.
func (c *Config) Load(name string) (text []byte, readAt time.Time, ok bool, err error) {
	data, err := os.ReadFile(c.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, time.Time{}, false, nil
	}
	if err != nil {
		return nil, time.Time{}, false, fmt.Errorf("read the configuration that was kept: %w", err)
	}
	var saved savedConfig
	if err := json.Unmarshal(data, &saved); err != nil {
		return nil, time.Time{}, false, fmt.Errorf("read the configuration that was kept, %s: %w", c.path, err)
	}
	if crc32.Checksum(saved.Text, castagnoli()) != saved.CRC32C {
		return nil, time.Time{}, false, fmt.Errorf("read the configuration that was kept, %s: its checksum is wrong", c.path)
	}
	return saved.Text, saved.ReadAt, saved.File == name, nil
}
