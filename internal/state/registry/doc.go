// Package registry keeps the record of which instances exist, and the soft knowledge of which of them
// are alive.
//
// The record is durable and lives behind the port Store. A Registry follows it, mirrors it in memory
// and publishes it as snapshots. What keeps an instance alive (renewals, sessions) is memory of the
// node that hears it, and never a write: only registering, draining, deregistering and a change of a word on
// the health raise the revision.
//
// The record keeps the last word of each source on an instance's health and joins them into one verdict (see
// Record.Words).
//
// # Concurrency
//
// A Registry is safe for concurrent use. Run owns its goroutines and ends them before it returns.
// Snapshots are immutable and read without a lock; one mutex guards the mirror and the leases, and is
// never held over a call to the store.
package registry
