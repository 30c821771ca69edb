package app

import (
	"crypto/rand"
	"strings"

	"github.com/toska-mesh/toska-mesh/internal/backend/file"
	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/role/gateway"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/internal/trust/token"
)

// home is what outlives a node: its data directory, or the memory of a process.
type home interface {
	Path() string
	NodeID() string
	AdminToken() string
	ServiceToken() string
	// Announce leaves word of the node's addresses for who is refused.
	Announce(addresses map[string]string) error
	Close() error
}

var _ home = (*file.Dir)(nil)

// Memory takes the place of a data directory: the node's identity, its secrets and its registry live as long
// as the process. Apps that run one after the other on the same Memory are one node that restarts; such a node
// is not found by the programs of its user.
type Memory struct {
	nodeID, admin, service string
	store                  *memory.Store
}

var _ home = (*Memory)(nil)

// NewMemory returns an empty Memory of a new node.
func NewMemory() *Memory {
	return &Memory{
		nodeID: "n-" + strings.ToLower(rand.Text()[:16]), store: memory.NewStore(),
		admin: token.New(identity.Admin), service: token.New(identity.Service),
	}
}

// Path returns nothing: there is no directory.
func (m *Memory) Path() string { return "" }

// NodeID returns the node's identity.
func (m *Memory) NodeID() string { return m.nodeID }

// AdminToken returns the secret of operators.
func (m *Memory) AdminToken() string { return m.admin }

// ServiceToken returns the secret of services.
func (m *Memory) ServiceToken() string { return m.service }

// Announce does nothing.
func (m *Memory) Announce(map[string]string) error { return nil }

// Close does nothing: the next App finds what this one left.
func (m *Memory) Close() error { return nil }

// openHome opens the data directory, unless the node lives in memory.
func (c *Config) openHome() (home, error) {
	if c.Memory != nil {
		return c.Memory, nil
	}
	// A *file.Dir that is nil must not become a home that is not.
	dir, err := file.Open(c.DataDir)
	if err != nil {
		return nil, err
	}
	return dir, nil
}

// saved is where the gateway's last table lies; nil for a node in memory.
func (a *App) saved() gateway.Saved {
	if dir, ok := a.dir.(*file.Dir); ok {
		return dir.Table()
	}
	return nil
}
