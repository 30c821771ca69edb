// Package discovery is the role that keeps the registry: instances join, renew and leave, and everyone
// may watch.
//
// # Concurrency
//
// A Discovery may be run again after Run has returned. Its methods are safe for concurrent use; while it
// does not run it answers reads from its last snapshot, marked stale, and refuses changes.
package discovery

import (
	"log/slog"
	"net/netip"

	"github.com/toska-mesh/toska-mesh/internal/state/registry"
)

// Config is what an operator, or the node around it, decides.
type Config struct {
	// NodeID is the id of this node; required.
	NodeID string
	// OwnListeners returns the addresses on which this node listens now, which no instance may have. It
	// may be nil.
	OwnListeners func() []netip.AddrPort
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config { return Config{} }

// Discovery is the role. It offers mesh.Discovery.
type Discovery struct{ *registry.Registry }

// New returns the role over a store. It starts nothing. log may be nil.
func New(cfg Config, store registry.Store, log *slog.Logger) (*Discovery, error) {
	r, err := registry.New(registry.Config{
		NodeID: cfg.NodeID, Names: registry.FamilyNames, OwnListeners: cfg.OwnListeners, Log: log,
	}, store)
	if err != nil {
		return nil, err
	}
	return &Discovery{Registry: r}, nil
}
