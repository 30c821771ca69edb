package mesh

import (
	"context"
	"time"
)

// Node is what every node offers of itself.
type Node interface {
	// Status returns the node's state now.
	Status(ctx context.Context) (Status, error)
}

// Status is a node's account of itself.
type Status struct {
	NodeID    string
	Version   string
	PID       int
	DataDir   string
	StartedAt time.Time
	// Addresses maps "gateway", "control", "discovery" and what further listeners are called to host:port,
	// for those that listen.
	Addresses map[string]string
	// Ready is true when every role that runs here is ready.
	Ready bool
	// Roles are the parts that run here, in the order of their start.
	Roles []RoleStatus
	// Registry tells of the registry as this node sees it.
	Registry RegistryStatus
	// Table tells of the gateway's table; nil without a gateway.
	Table *TableStatus
	// Config tells of the configuration file.
	Config ConfigStatus
	// Alarms are conditions that an operator should act on, each a sentence.
	Alarms []Alarm
}

// RoleStatus is the state of one supervised part.
type RoleStatus struct {
	Name string
	// State is "starting", "ready", "restarting", "stopping", "stopped" or "failed".
	State string
	// Since is when the state was entered.
	Since time.Time
	// Restarts counts how often the part was started again.
	Restarts int
	// Reason is why it last failed; empty if it never did.
	Reason string
}

// RegistryStatus is the registry's size and age.
type RegistryStatus struct {
	Revision  Revision
	Services  int
	Instances int
	Sessions  int
	// Stale is true while the store cannot be reached.
	Stale bool
}

// TableStatus is the gateway's table.
type TableStatus struct {
	Revision Revision
	// Routes that are configured; the services under the prefix are not among them.
	Routes    int
	Services  int
	Endpoints int
	BuiltAt   time.Time
	// Stale tables come from disk: the registry has not been heard since the start.
	Stale bool
}

// The states of a configuration file.
const (
	// ConfigNone is that there is no file; one that is made later is taken.
	ConfigNone = "none"
	// ConfigInForce is that the file as it is now was taken.
	ConfigInForce = "in force"
	// ConfigLastGood is that the file as it is now was not taken: what was read before is in force.
	ConfigLastGood = "last good"
)

// ConfigStatus is the configuration file of a node.
type ConfigStatus struct {
	// Path of the file; empty for a node that has no place for one.
	Path string
	// State is one of the Config constants.
	State string
	// LoadedAt is when what is in force was read; zero for nothing.
	LoadedAt time.Time
}

// Alarm is a condition that an operator should act on.
type Alarm struct {
	Code string
	// Detail says what is the case, where, and what to do.
	Detail string
}
