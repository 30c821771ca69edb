package portholder_test

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/util/portholder"
)

func TestFindNamesTheProcessThatListens(t *testing.T) {
	for _, tc := range []struct {
		name, listen, ask string
	}{
		{"on the same address", "127.0.0.1:0", "127.0.0.1"},
		{"when all addresses are asked for", "127.0.0.1:0", "0.0.0.0"},
		{"that holds all addresses", ":0", "127.0.0.1"},
		{"on IPv6", "[::1]:0", "::1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, port := listen(t, tc.listen)
			pid, name, ok := portholder.Find(netip.AddrPortFrom(netip.MustParseAddr(tc.ask), port))
			if !ok || pid != os.Getpid() || name == "" {
				t.Errorf("Find = %d, %q, %v, want this process (%d)", pid, name, ok, os.Getpid())
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if pid, name, ok := portholder.Find(netip.AddrPortFrom(netip.MustParseAddr(tc.ask), port)); ok {
				t.Errorf("Find of a free port = %d, %q, true", pid, name)
			}
		})
	}
}

func TestFindIgnoresOtherAddresses(t *testing.T) {
	_, port := listen(t, "127.0.0.1:0")
	if pid, name, ok := portholder.Find(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), port)); ok {
		t.Errorf("Find(127.0.0.2) = %d, %q, true, want nobody", pid, name)
	}
}

func listen(t *testing.T, addr string) (net.Listener, uint16) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, l.Addr().(*net.TCPAddr).AddrPort().Port()
}
