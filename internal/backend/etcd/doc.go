// Package etcd is the embedded store: an etcd server inside the process, and the ports of the wings on
// top of it.
//
// On one node the engine has no listener at all: its client calls it as functions. A failure of its
// disk ends the engine and not the process; the node then goes on without a store.
//
// # Concurrency
//
// An Engine and its stores are safe for concurrent use. Open starts the engine's goroutines and Close
// waits for them. A failed engine cannot be stopped or opened again in the same process: what it holds
// is freed when the process ends.
package etcd
