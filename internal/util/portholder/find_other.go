//go:build !linux

package portholder

import "net/netip"

func find(netip.AddrPort) (pid int, name string, ok bool) { return 0, "", false }
