package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/toska-mesh/toska-mesh/internal/util/portholder"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// CodePortTaken is a port that another process has.
const CodePortTaken = "TOSKA-LISTEN-TAKEN"

// listeners are the node's sockets by name. They are bound before anything starts, so that a taken
// port is found before data is touched, and they outlive the roles that accept on them.
type listeners map[string]net.Listener

func (ls listeners) bind(ctx context.Context, name, addr string) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return bindError(name, addr, err)
	}
	ls[name] = ln
	return nil
}

func bindError(name, addr string, err error) error {
	flag := "--listen-" + name
	switch name {
	case listenGateway, listenGatewayTLS, listenControl, listenDiscovery:
	default:
		flag = "listeners." + name + ".address in the configuration file:"
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen for %s on %s: %w; %s HOST:PORT chooses another address", name, addr, err, flag)
	}
	holder := "another process"
	if ap, err := resolve(addr); err == nil {
		if pid, cmd, ok := portholder.Find(ap); ok {
			holder = fmt.Sprintf("%s (process %d)", cmd, pid)
		}
	}
	return &mesh.Error{Kind: mesh.ErrConflict, Code: CodePortTaken, Cause: err, Detail: fmt.Sprintf(
		"listen for %s on %s: the port is taken by %s; %s HOST:PORT chooses another, %s 127.0.0.1:0 any free one",
		name, addr, holder, flag, flag)}
}

func resolve(addr string) (netip.AddrPort, error) {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("resolve %s: %w", addr, err)
	}
	return a.AddrPort(), nil
}

// addresses returns host:port by name.
func (ls listeners) addresses() map[string]string {
	out := make(map[string]string, len(ls))
	for name, ln := range ls {
		out[name] = ln.Addr().String()
	}
	return out
}

// addrPorts returns the addresses that no instance may have.
func (ls listeners) addrPorts() []netip.AddrPort {
	out := make([]netip.AddrPort, 0, len(ls))
	for _, ln := range ls {
		if a, ok := ln.Addr().(*net.TCPAddr); ok {
			ap := a.AddrPort()
			out = append(out, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()))
		}
	}
	return out
}

// describe says what the access rules need to know of a listener.
func (ls listeners) describe(name, configured string, anonymous bool) httpapi.Listener {
	l := httpapi.Listener{Name: name, AnonymousFamily: anonymous}
	if a, ok := ls[name].Addr().(*net.TCPAddr); ok {
		l.Loopback = a.IP.IsLoopback()
	}
	if host, _, err := net.SplitHostPort(configured); err == nil && host != "" {
		if _, err := netip.ParseAddr(host); err != nil {
			l.Hosts = []string{host}
		}
	}
	return l
}

func (ls listeners) close() {
	for _, ln := range ls {
		_ = ln.Close() // some are closed by the server that accepted on them
	}
}
