package pointer

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"
)

// lookupTimeout bounds the look-up of a name that may be this machine's.
const lookupTimeout = time.Second

// Named returns the node among living that a program on this machine reaches at hostPort: one of the named
// listeners has that port, and its address, or all of this machine's. A host name is looked up. Whoever trusts the
// answer talks to the pointer's own address, not to hostPort.
func Named(ctx context.Context, living []Pointer, hostPort string, listeners ...string) (Pointer, bool) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return Pointer{}, false
	}
	var addrs []netip.Addr // of host, once they are needed
	for _, p := range living {
		for _, name := range listeners {
			l := p.Addresses[name]
			if l == "" {
				continue
			}
			if l == hostPort || Reachable(l) == hostPort {
				return p, true
			}
			lhost, lport, err := net.SplitHostPort(l)
			if err != nil || lport != port {
				continue
			}
			if addrs == nil {
				addrs = lookUp(ctx, host)
			}
			if accepts(lhost, addrs) {
				return p, true
			}
		}
	}
	return Pointer{}, false
}

// lookUp returns the addresses of a host, an empty list that is not nil for none.
func lookUp(ctx context.Context, host string) []netip.Addr {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}
	}
	if strings.EqualFold(host, "localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	out := []netip.Addr{}
	if err != nil {
		return out
	}
	for _, ip := range found {
		out = append(out, ip.Unmap())
	}
	return out
}

// accepts reports whether a listener on host accepts at one of the addresses.
func accepts(host string, addrs []netip.Addr) bool {
	if host == "" {
		host = "::"
	}
	listens, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	listens = listens.Unmap()
	for _, a := range addrs {
		switch {
		case a == listens:
			return true
		case !listens.IsUnspecified() || listens.Is4() && !a.Is4():
		case a.IsLoopback() || a.IsUnspecified() || own(a):
			return true
		}
	}
	return false
}

// own reports whether an interface of this machine has the address.
func own(a netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, i := range all {
		if p, err := netip.ParsePrefix(i.String()); err == nil && p.Addr().Unmap().WithZone("") == a.WithZone("") {
			return true
		}
	}
	return false
}
