package mesh

import (
	"context"
	"iter"
	"time"
)

const (
	// LeaseTTL is how long a session survives without a renewal.
	LeaseTTL = 30 * time.Second
	// RenewInterval is how often the holder of a session renews it.
	RenewInterval = 10 * time.Second
	// SessionGrace is how long a session may be broken before its instance is failing.
	SessionGrace = 250 * time.Millisecond
)

// Discovery is what the discovery role offers: instances come and go, and everyone may watch.
//
// Who calls is taken from the context. An error that a caller may branch on matches one of the kinds
// of this package (ErrNotFound, ErrConflict, ErrInvalid, ErrForbidden, ErrUnavailable …). Nothing is
// acknowledged before it is durable.
type Discovery interface {
	// Register adds an instance, or a new incarnation of one, under a Leased or Permanent lifetime.
	Register(ctx context.Context, r Registration) (Instance, error)
	// Open registers an instance and holds its session. A resume other than zero names the incarnation
	// that the caller still believes in: if it is current, the session goes on with it and nothing is
	// written; otherwise a new incarnation is registered. ErrStale if another Owner has registered the ID
	// since. A new incarnation of the same Owner goes on draining, and keeps the metadata that was set
	// meanwhile.
	Open(ctx context.Context, r Registration, resume uint64) (Session, error)
	// Renew restarts the instance's lease and changes nothing else. ErrNotFound if the instance is gone,
	// ErrStale if another incarnation took its place.
	Renew(ctx context.Context, ref Ref) error
	// Report renews, and changes the instance's own word on its health if it differs.
	Report(ctx context.Context, ref Ref, rep Report) error
	// Drain takes the instance out of rotation and leaves it registered.
	Drain(ctx context.Context, ref Ref) error
	// Deregister removes the instance for good. ErrNotFound if it is not there.
	Deregister(ctx context.Context, ref Ref) error
	// Instance returns one instance by id. ErrNotFound if it is not there.
	Instance(ctx context.Context, id string) (Instance, error)
	// Snapshot returns the whole registry as this node sees it now.
	Snapshot(ctx context.Context) (*Snapshot, error)
	// Watch yields the current snapshot if it is newer than since, then each newer one. A slow reader
	// skips revisions and never sees an older one after a newer. The sequence ends when ctx ends or with
	// an error, after which the caller watches again from the last revision that it saw.
	Watch(ctx context.Context, since Revision) iter.Seq2[*Snapshot, error]
}

// Session is the live tie between an instance and the node that hears it.
type Session interface {
	// Instance returns the registration as it was accepted, with its incarnation, and draining if that
	// was known when it was last opened, renewed or reported on.
	Instance() Instance
	// Renew restarts the lease.
	Renew(ctx context.Context) error
	// Report renews, and changes the instance's own word on its health if it differs.
	Report(ctx context.Context, rep Report) error
	// Done is closed when the session has ended for any reason but Close.
	Done() <-chan struct{}
	// Err tells why Done is closed: ErrStale when a newer incarnation took over, ErrNotFound when the
	// instance was deregistered, ErrUnavailable when the node stops, the connection broke or the lease
	// lapsed: the session may then be opened again.
	Err() error
	// Close lets go of the session without deregistering. lost says that the instance's connection
	// broke: the instance is failing after SessionGrace. Otherwise a fresh lease runs.
	Close(lost bool)
}

// MetadataEditor changes what a registered instance says of itself. A mesh.Discovery that keeps the
// record itself offers it.
type MetadataEditor interface {
	// SetMetadata sets the given keys and keeps the others, in one durable change that raises the
	// revision. The result obeys the limits of a registration's metadata, or nothing changes
	// (ErrInvalid). ErrNotFound if the instance is gone, ErrStale if another incarnation took its place.
	SetMetadata(ctx context.Context, ref Ref, set map[string]string) error
}
