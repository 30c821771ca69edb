package registry

import (
	"net"
	"net/netip"
	"strings"
)

// defaultLoopback is where an instance listens that named no loopback address itself.
const defaultLoopback = "127.0.0.1"

// nodePrefix opens the stored address of an instance on some node's loopback.
const nodePrefix = "node:"

// NodeAddress returns the stored address of an instance that listens on the loopback of a node.
func NodeAddress(node string) string { return nodePrefix + node }

// resolve returns the address to dial from the given node.
func resolve(address, loopback, node string) string {
	if address != NodeAddress(node) {
		return address
	}
	if loopback == "" {
		return defaultLoopback
	}
	return loopback
}

// place decides where an instance is, from the address that it named and the one that it called from.
// An address that only means something on its own machine is replaced by the caller's; if that is no
// better, it is this node's loopback.
func place(named string, caller netip.Addr, node string) (address, loopback string) {
	literal, local := localAddress(named)
	if !local {
		if ip, err := netip.ParseAddr(named); err == nil {
			return ip.Unmap().String(), ""
		}
		return named, ""
	}
	caller = caller.Unmap()
	if caller.IsValid() && !caller.IsLoopback() && !caller.IsUnspecified() {
		return caller.String(), ""
	}
	return NodeAddress(node), literal
}

// localAddress reports whether an address means "this machine", and the loopback address to dial.
func localAddress(named string) (literal string, local bool) {
	name := strings.ToLower(strings.TrimSuffix(named, "."))
	if name == "" || name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return defaultLoopback, true
	}
	ip, err := netip.ParseAddr(name)
	if err != nil {
		return "", false
	}
	switch ip = ip.Unmap(); {
	case ip.IsLoopback():
		return ip.String(), true
	case ip.IsUnspecified():
		return defaultLoopback, true
	}
	return "", false
}

// ownListener reports whether address and port are one of the listeners of this node. The address is
// a placed one.
func ownListener(listeners []netip.AddrPort, address string, port int, node string) bool {
	for _, l := range listeners {
		if int(l.Port()) == port && sameHost(l.Addr().Unmap(), address, node) {
			return true
		}
	}
	return false
}

func sameHost(listener netip.Addr, address, node string) bool {
	if address == NodeAddress(node) {
		return listener.IsLoopback() || listener.IsUnspecified()
	}
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	ip = ip.Unmap()
	return ip == listener || listener.IsUnspecified() && ownInterface(ip)
}

// ownInterface reports whether an interface of this machine has the address.
func ownInterface(ip netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if own, ok := netip.AddrFromSlice(n.IP); ok && own.Unmap() == ip.WithZone("") {
				return true
			}
		}
	}
	return false
}
