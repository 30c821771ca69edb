package registry

import (
	"context"
	"iter"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// Store is the port behind which the registry's records are durable. It knows keys and bytes, not
// instances: the registry encodes, checksums and decodes them, so that every backend is checked alike.
// registrytest.TestStore is its contract as a test.
//
// All methods are safe for concurrent use. Without a quorum or with a failed disk they return
// mesh.ErrUnavailable with the code that says which, within 2 s.
type Store interface {
	// Load returns every value and the revision at which all of them were read. It is linearizable.
	Load(ctx context.Context) (mesh.Revision, []Value, error)
	// Commit applies all writes of the transaction and its journal entry, or nothing. It returns when
	// they are durable, with their revision. If a condition does not hold the error is mesh.ErrConflict;
	// a transaction that is too large for the backend is mesh.ErrTooLarge. A full store (the code
	// mesh.CodeStoreFull) may still take transactions that only delete, if need be without their entry.
	Commit(ctx context.Context, txn Txn) (mesh.Revision, error)
	// Watch yields each commit after the given revision, in order and without gaps. It ends when ctx
	// ends (without an error), or with an error: mesh.ErrNotFound when the revision is compacted or of
	// another epoch, so that the caller must Load again.
	Watch(ctx context.Context, after mesh.Revision) iter.Seq2[Commit, error]
}

// Value is one stored value.
type Value struct {
	Key  string
	Data []byte
	// Revision is that of the commit that wrote the value.
	Revision mesh.Revision
}

// Write puts or deletes one key, on the condition that it has not changed.
type Write struct {
	Key string
	// Data is the new value; nil deletes the key.
	Data []byte
	// If is the Number of the revision that the key's value must have; zero: the key must not exist.
	If uint64
}

// Txn is what one Commit applies: at most 100 writes, and the journal entry that tells of them.
type Txn struct {
	Writes []Write
	// Journal is stored under the one key JournalKey, whose history is the event log.
	Journal []byte
}

// Commit is one transaction as a watcher sees it.
type Commit struct {
	Revision mesh.Revision
	// Changes are the values written; a nil Data is a deletion.
	Changes []Value
	Journal []byte
}

// JournalKey is the key whose history is the event log and the time axis.
const JournalKey = "journal"
