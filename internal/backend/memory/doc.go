// Package memory keeps what the ports of the wings store in the memory of one process: for tests, and
// for meshes that may forget.
//
// # Concurrency
//
// A Store is safe for concurrent use. It starts no goroutines.
package memory
