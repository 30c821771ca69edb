// Package portholder tells which process listens on an address.
//
// # Concurrency
//
// Find reads the operating system's tables and keeps nothing.
package portholder

import "net/netip"

// Find returns the process that keeps others from listening on addr: one that listens on the same port
// of the same address, or of all addresses. An unspecified addr is in the way of every listener on its
// port. It is false where nobody is found, where the process belongs to someone else, and on systems
// that do not tell.
func Find(addr netip.AddrPort) (pid int, name string, ok bool) {
	return find(addr)
}
