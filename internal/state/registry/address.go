package registry

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
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
// better, it is this node's loopback. A caller that listens on loopback and calls from this very machine
// is found there and not at the address that it called from.
func place(named string, caller netip.Addr, node string) (address, loopback string) {
	literal, local := localAddress(named)
	if !local {
		if ip, err := netip.ParseAddr(named); err == nil {
			return ip.Unmap().String(), ""
		}
		return named, ""
	}
	caller = caller.Unmap()
	if caller.IsValid() && !caller.IsLoopback() && !caller.IsUnspecified() && (!onLoopback(named) || !ownInterface(caller)) {
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

// onLoopback reports whether an address names loopback, rather than nothing or all addresses.
func onLoopback(named string) bool {
	ip, err := netip.ParseAddr(named)
	return err == nil && ip.Unmap().IsLoopback() || err != nil && named != ""
}

// lookupDeadline bounds how long a registration waits for the address of a name.
const lookupDeadline = 500 * time.Millisecond

// ownListener reports whether address and port are one of the listeners of this node. The address is
// a placed one. A name is looked up only if the port is one of ours; one that cannot be is not ours.
func (r *Registry) ownListener(ctx context.Context, address string, port int) bool {
	if r.cfg.OwnListeners == nil {
		return false
	}
	var ours []netip.Addr
	for _, l := range r.cfg.OwnListeners() {
		if int(l.Port()) == port {
			ours = append(ours, l.Addr().Unmap())
		}
	}
	if len(ours) == 0 {
		return false
	}
	for _, host := range r.hosts(ctx, address) {
		if slices.ContainsFunc(ours, func(l netip.Addr) bool { return sameHost(l, host, r.cfg.NodeID) }) {
			return true
		}
	}
	return false
}

// circles are the ports of a registration on which requests or probes reach the instance.
type circles struct {
	port     int
	check    *mesh.Check
	metadata map[string]string
}

// metaTCPPort is the key of the family's metadata that names the port of a TCP probe.
const metaTCPPort = "tcp_port"

// circle returns what of a registration leads back to the listeners of this node.
func (r *Registry) circle(ctx context.Context, address string, c circles) []mesh.FieldError {
	var out []mesh.FieldError
	refuse := func(field string, port int, would string) {
		if port > 0 && r.ownListener(ctx, address, port) {
			out = append(out, mesh.FieldError{Field: field, Problem: fmt.Sprintf(
				"%d at this address is a listener of this node itself, which would %s", port, would)})
		}
	}
	refuse("port", c.port, "send requests in a circle")
	if c.check != nil {
		refuse("check.port", c.check.Port, "answer probes in the place of the instance")
	}
	if port, err := strconv.ParseUint(c.metadata[metaTCPPort], 10, 16); err == nil {
		refuse("metadata."+metaTCPPort, int(port), "answer probes in the place of the instance")
	}
	return out
}

// hosts returns the placed addresses that an address stands for.
func (r *Registry) hosts(ctx context.Context, address string) []string {
	if _, err := netip.ParseAddr(address); err == nil || strings.HasPrefix(address, nodePrefix) {
		return []string{address}
	}
	name := strings.ToLower(strings.TrimSuffix(address, "."))
	if slices.Contains(loopbackNames[:], name) {
		return []string{NodeAddress(r.cfg.NodeID)}
	}
	if own, err := os.Hostname(); err == nil && strings.EqualFold(own, name) {
		return append(interfaces(), NodeAddress(r.cfg.NodeID))
	}
	ctx, cancel := context.WithTimeout(ctx, lookupDeadline)
	defer cancel()
	ips, err := r.cfg.Resolve(ctx, name)
	if err != nil {
		return nil
	}
	out := make([]string, 0, len(ips))
	for _, ip := range ips {
		out = append(out, ip.Unmap().String())
	}
	return out
}

// loopbackNames are what systems call loopback in their own files, besides localhost.
var loopbackNames = [...]string{"localhost.localdomain", "localhost4", "localhost6", "localhost4.localdomain4",
	"localhost6.localdomain6", "ip6-localhost", "ip6-loopback"}

func sameHost(listener netip.Addr, address, node string) bool {
	if address == NodeAddress(node) {
		return listener.IsLoopback() || listener.IsUnspecified()
	}
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	ip = ip.Unmap()
	return ip == listener || listener.IsUnspecified() && (ip.IsLoopback() || ownInterface(ip))
}

// ownInterface reports whether an interface of this machine has the address.
func ownInterface(ip netip.Addr) bool {
	return slices.Contains(interfaces(), ip.Unmap().WithZone("").String())
}

// interfaces returns the addresses of this machine.
func interfaces() []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []string
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if own, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, own.Unmap().String())
			}
		}
	}
	return out
}
