package pointer_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
)

func TestNamedFindsTheNodeBehindAnAddress(t *testing.T) {
	at := func(control string) []pointer.Pointer {
		return []pointer.Pointer{
			{DataDir: "other", Addresses: map[string]string{"control": "127.0.0.9:7"}},
			{DataDir: "own", Addresses: map[string]string{"control": control, "discovery": "127.0.0.1:8080"}},
		}
	}
	for _, tc := range []struct {
		name, listens, asked string
		listeners            []string
		want                 bool
	}{
		{"the very address", "10.0.0.5:5010", "10.0.0.5:5010", []string{"control"}, true},
		{"loopback of one on all addresses", "0.0.0.0:5010", "127.0.0.1:5010", []string{"control"}, true},
		{"IPv4 loopback of one on all addresses of both families", "[::]:5010", "127.0.0.1:5010", []string{"control"}, true},
		{"localhost of one on loopback", "127.0.0.1:5010", "localhost:5010", []string{"control"}, true},
		{"another port", "[::]:5010", "127.0.0.1:5011", []string{"control"}, false},
		{"an address that is not this machine's", "[::]:5010", "192.0.2.1:5010", []string{"control"}, false},
		{"IPv6 where only IPv4 is listened on", "0.0.0.0:5010", "[::1]:5010", []string{"control"}, false},
		{"loopback of one that listens elsewhere", "10.0.0.5:5010", "127.0.0.1:5010", []string{"control"}, false},
		{"a name that is none", "[::]:5010", "no-such-host.invalid:5010", []string{"control"}, false},
		{"a listener that was not asked for", "[::]:5010", "127.0.0.1:8080", []string{"control"}, false},
		{"one that was", "[::]:5010", "127.0.0.1:8080", []string{"control", "discovery"}, true},
		{"no address", "[::]:5010", "x", []string{"control"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, ok := pointer.Named(t.Context(), at(tc.listens), tc.asked, tc.listeners...)
			if ok != tc.want || ok && p.DataDir != "own" {
				t.Errorf("Named = %+v, %v, want %v", p, ok, tc.want)
			}
		})
	}
}

func TestNamedKnowsTheAddressesOfThisMachine(t *testing.T) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	living := []pointer.Pointer{{Addresses: map[string]string{"control": "[::]:5010"}}}
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		asked := netip.AddrPortFrom(p.Addr(), 5010).String()
		if _, ok := pointer.Named(t.Context(), living, asked, "control"); !ok {
			t.Errorf("Named(%s) found nothing, and it is an address of this machine", asked)
		}
	}
}
