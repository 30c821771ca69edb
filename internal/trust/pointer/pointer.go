// Package pointer is how the programs of one user find that user's nodes: each node leaves a file that
// tells its addresses and tokens, readable by its owner alone.
//
// # Concurrency
//
// Functions keep no state. A Pointer is plain data.
package pointer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/util/atomicfile"
)

// Pointer tells how to reach a running node. Its JSON form is that of the ready file.
type Pointer struct {
	// PID is the node's process.
	PID int `json:"pid"`
	// Version is the node's software version.
	Version string `json:"version"`
	// NodeID is the node's identity, kept across restarts.
	NodeID string `json:"nodeId,omitempty"`
	// StartedAt is the wall-clock time of the node's start.
	StartedAt time.Time `json:"startedAt,omitzero"`
	// DataDir is the absolute path of the node's data directory.
	DataDir string `json:"dataDir"`
	// AdminToken and ServiceToken are the node's secrets: whoever writes a Pointer keeps it private.
	AdminToken   string `json:"adminToken"`
	ServiceToken string `json:"serviceToken"`
	// Addresses maps "gateway", "control", "discovery" and what further listeners are called to the
	// host:port that each listens on, for those that listen.
	Addresses map[string]string `json:"addresses"`
	// TLS maps those of Addresses that speak TLS to the file of the certificate that they show.
	TLS map[string]string `json:"tls,omitempty"`
}

// WriteFile writes p to path, readable by its owner alone. A reader sees the whole file or none.
func WriteFile(path string, p Pointer) error {
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the node's pointer: %w", err)
	}
	if err := atomicfile.Write(path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the node's pointer to %s: %w", path, err)
	}
	return nil
}

// ReadFile reads what WriteFile wrote.
func ReadFile(path string) (Pointer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Pointer{}, fmt.Errorf("read a node's pointer: %w", err)
	}
	var p Pointer
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&p); err != nil {
		return Pointer{}, fmt.Errorf("read a node's pointer: %s: %w", path, err)
	}
	return p, nil
}
