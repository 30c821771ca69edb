// Package lifecycle starts the parts of a process in order, keeps them running and stops them in
// reverse.
//
// A Supervisor runs units: each names what it needs and what it merely wants. A unit that fails while
// the process starts ends the start; one that fails later is started again with back-off while the
// others go on. A Group is how a unit starts goroutines of its own: they are named, waited for, and a
// panic in one of them is contained to the unit as an error.
//
// # Concurrency
//
// Supervisor.Status may be called at any time from any goroutine. Run is called once. A Group may be
// used by several goroutines; Go is not called after Wait has returned.
package lifecycle
