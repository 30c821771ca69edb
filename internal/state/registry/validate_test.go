package registry_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestValidate(t *testing.T) {
	many := make(map[string]string)
	for i := range 65 {
		many[fmt.Sprint(i)] = "x"
	}
	for _, c := range []struct {
		name  string
		rule  registry.NameRule
		edit  func(*mesh.Registration)
		wrong []string
	}{
		{"a plain registration is valid", registry.LabelNames, func(*mesh.Registration) {}, nil},
		{"an empty name is refused", registry.LabelNames, func(r *mesh.Registration) { r.Service = "" }, []string{"service"}},
		{"an underscore is no part of a label", registry.LabelNames, func(r *mesh.Registration) { r.Service = "a_b" }, []string{"service"}},
		{"an underscore is part of a family name", registry.FamilyNames, func(r *mesh.Registration) { r.Service = "A_b.c" }, nil},
		{"a label of 64 is too long", registry.LabelNames, func(r *mesh.Registration) { r.Service = strings.Repeat("a", 64) }, []string{"service"}},
		{"a family name of 128 is not", registry.FamilyNames, func(r *mesh.Registration) { r.Service = strings.Repeat("a", 128) }, nil},
		{"a family name of 129 is", registry.FamilyNames, func(r *mesh.Registration) { r.Service = strings.Repeat("a", 129) }, []string{"service"}},
		{"a slash is part of no name", registry.FamilyNames, func(r *mesh.Registration) { r.Service = "a/b" }, []string{"service"}},
		{"a label does not end in a hyphen", registry.LabelNames, func(r *mesh.Registration) { r.Service = "a-" }, []string{"service"}},
		{"dashboard is reserved in any case", registry.FamilyNames, func(r *mesh.Registration) { r.Service = "Dashboard" }, []string{"service"}},
		{"consul is accepted", registry.FamilyNames, func(r *mesh.Registration) { r.Service = "consul" }, nil},
		{"an id with a space is refused", registry.LabelNames, func(r *mesh.Registration) { r.ID = "a b" }, []string{"id"}},
		{"the id . is refused", registry.LabelNames, func(r *mesh.Registration) { r.ID = "." }, []string{"id"}},
		{"the id .. is refused", registry.LabelNames, func(r *mesh.Registration) { r.ID = ".." }, []string{"id"}},
		{"an id that begins with a hyphen is refused", registry.LabelNames, func(r *mesh.Registration) { r.ID = "-a" }, []string{"id"}},
		{"an id that ends with a colon is refused", registry.LabelNames, func(r *mesh.Registration) { r.ID = "a:" }, []string{"id"}},
		{"an id of one letter is not", registry.LabelNames, func(r *mesh.Registration) { r.ID = "a" }, nil},
		{"an id with marks inside is not", registry.LabelNames, func(r *mesh.Registration) { r.ID = "web_1.b:8080-x" }, nil},
		{"an id of 128 is not", registry.LabelNames, func(r *mesh.Registration) { r.ID = strings.Repeat("a", 128) }, nil},
		{"an id of 129 is refused", registry.LabelNames, func(r *mesh.Registration) { r.ID = strings.Repeat("a", 129) }, []string{"id"}},
		{"port 0 is refused", registry.LabelNames, func(r *mesh.Registration) { r.Port = 0 }, []string{"port"}},
		{"port 70000 is refused", registry.LabelNames, func(r *mesh.Registration) { r.Port = 70000 }, []string{"port"}},
		{"an address with a port is refused", registry.LabelNames, func(r *mesh.Registration) { r.Address = "10.0.0.1:80" }, []string{"address"}},
		{"a name with a port is refused", registry.LabelNames, func(r *mesh.Registration) { r.Address = "host:80" }, []string{"address"}},
		{"an address with a space is refused", registry.LabelNames, func(r *mesh.Registration) { r.Address = "a b" }, []string{"address"}},
		{"a URL is refused", registry.LabelNames, func(r *mesh.Registration) { r.Address = "http://host" }, []string{"address"}},
		{"a bracketed address is refused", registry.LabelNames, func(r *mesh.Registration) { r.Address = "[::1]" }, []string{"address"}},
		{"a zone is refused", registry.LabelNames, func(r *mesh.Registration) { r.Address = "fe80::1%eth0" }, []string{"address"}},
		{"a group's address is refused", registry.LabelNames, func(r *mesh.Registration) { r.Address = "224.0.0.1" }, []string{"address"}},
		{"a number that resolvers read as an address is refused", registry.LabelNames, func(r *mesh.Registration) { r.Address = "2130706433" }, []string{"address"}},
		{"a hexadecimal one as well", registry.LabelNames, func(r *mesh.Registration) { r.Address = "0x7f.1" }, []string{"address"}},
		{"IPv6 is an address", registry.LabelNames, func(r *mesh.Registration) { r.Address = "2001:db8::1" }, nil},
		{"a host name is an address", registry.LabelNames, func(r *mesh.Registration) { r.Address = "db_1.internal." }, nil},
		{"no address is the caller's", registry.LabelNames, func(r *mesh.Registration) { r.Address = "" }, nil},
		{"65 keys are too many", registry.LabelNames, func(r *mesh.Registration) { r.Metadata = many }, []string{"metadata"}},
		{"65 KiB of metadata are too much", registry.LabelNames, func(r *mesh.Registration) { r.Metadata = map[string]string{"k": strings.Repeat("x", 65<<10)} }, []string{"metadata"}},
		{"64 KiB of metadata are not", registry.LabelNames, func(r *mesh.Registration) { r.Metadata = map[string]string{"k": strings.Repeat("x", 64<<10-1)} }, nil},
		{"an empty key is refused", registry.LabelNames, func(r *mesh.Registration) { r.Metadata = map[string]string{"": "x"} }, []string{"metadata."}},
		{"a value that is not UTF-8 is refused", registry.LabelNames, func(r *mesh.Registration) { r.Metadata = map[string]string{"k": "\xff"} }, []string{"metadata.k"}},
		{"a weight that is no number is no error", registry.LabelNames, func(r *mesh.Registration) { r.Metadata = map[string]string{"weight": "heavy"} }, nil},
		{"a check's path begins with a slash", registry.LabelNames, func(r *mesh.Registration) { r.Check = &mesh.Check{HTTP: "health"} }, []string{"check.http"}},
		{"a check's port is a port", registry.LabelNames, func(r *mesh.Registration) { r.Check = &mesh.Check{Port: 65536} }, []string{"check.port"}},
		{"a check's port is not negative", registry.LabelNames, func(r *mesh.Registration) { r.Check = &mesh.Check{Port: -1} }, []string{"check.port"}},
		{"a check of another port over TLS", registry.LabelNames, func(r *mesh.Registration) { r.Check = &mesh.Check{HTTP: "/h", TLS: true, Port: 65535} }, nil},
		{"a TCP check speaks no TLS", registry.LabelNames, func(r *mesh.Registration) { r.Check = &mesh.Check{TLS: true} }, []string{"check.tls"}},
		{"a check's thresholds out of bounds are no error", registry.LabelNames, func(r *mesh.Registration) { r.Check = &mesh.Check{Up: -1, Down: 1000} }, nil},
		{"a check's short interval is no error", registry.LabelNames, func(r *mesh.Registration) { r.Check = &mesh.Check{Interval: 1} }, nil},
		{"a TTL below a second is refused", registry.LabelNames, func(r *mesh.Registration) { r.TTL = time.Millisecond }, []string{"ttl"}},
		{"a TTL over a day is refused", registry.LabelNames, func(r *mesh.Registration) { r.TTL = 25 * time.Hour }, []string{"ttl"}},
		{"every wrong field is named", registry.LabelNames, func(r *mesh.Registration) {
			*r = mesh.Registration{Service: "a b", ID: "!", Address: "x y", Port: -1, TTL: 1, Lifetime: 9,
				Metadata: map[string]string{"": ""}, Check: &mesh.Check{HTTP: "x"}}
		}, []string{"address", "check.http", "id", "lifetime", "metadata.", "port", "service", "ttl"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := web("web-1")
			c.edit(&r)
			err := registry.Validate(r, c.rule)
			if d := cmp.Diff(c.wrong, fieldsOf(err)); d != "" {
				t.Errorf("wrong fields (-want +got):\n%s", d)
			}
			if err != nil && (!errors.Is(err, mesh.ErrInvalid) || mesh.CodeOf(err) != mesh.CodeInvalid) {
				t.Errorf("Validate = %v, want ErrInvalid with its code", err)
			}
		})
	}
}

func TestAddressRule(t *testing.T) {
	for _, c := range []struct {
		name, address, caller, want string
	}{
		{"an address of its own is kept", "10.1.1.1", "10.0.0.9", "10.1.1.1"},
		{"a host name is kept", "db.internal", "10.0.0.9", "db.internal"},
		{"a mapped address is written plainly", "::ffff:10.1.1.1", "10.0.0.9", "10.1.1.1"},
		{"nothing becomes the caller's", "", "10.0.0.9", "10.0.0.9"},
		{"loopback becomes the caller's", "127.0.0.1", "10.0.0.9", "10.0.0.9"},
		{"IPv6 loopback becomes the caller's", "::1", "::ffff:10.0.0.9", "10.0.0.9"},
		{"unspecified becomes the caller's", "0.0.0.0", "2001:db8::9", "2001:db8::9"},
		{"IPv6 unspecified becomes the caller's", "::", "10.0.0.9", "10.0.0.9"},
		{"localhost becomes the caller's", "LocalHost", "10.0.0.9", "10.0.0.9"},
		{"nothing from the node itself is its loopback", "", "127.0.0.1", "127.0.0.1"},
		{"a loopback address on the node is kept", "127.0.0.5", "127.0.0.1", "127.0.0.5"},
		{"IPv6 loopback on the node is kept", "::1", "::1", "::1"},
		{"unspecified on the node is its loopback", "::", "::1", "127.0.0.1"},
		{"a caller in process is on the node", "localhost", "", "127.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, memory.NewStore())
			reg := web("web-1")
			reg.Address = c.address
			inst, err := r.Register(as(t, identity.Service, c.caller), reg)
			if err != nil {
				t.Fatal(err)
			}
			if inst.Address != c.want {
				t.Errorf("address = %q, want %q", inst.Address, c.want)
			}
			if again, err := r.Instance(t.Context(), "web-1"); err != nil || again.Address != c.want {
				t.Errorf("Instance = %q, %v, want %q", again.Address, err, c.want)
			}
		})
	}
}

func TestAMadeIDIsOneThatMayBeNamed(t *testing.T) {
	r := start(t, memory.NewStore())
	for _, name := range []string{"web", "_web", "..", "-", strings.Repeat("a", 128)} {
		reg := web("")
		reg.Service = name
		inst, err := r.Register(service(t), reg)
		if err != nil {
			t.Fatal(err)
		}
		reg.ID = inst.ID
		if err := registry.Validate(reg, registry.FamilyNames); err != nil {
			t.Errorf("the id %q that was made for %q: %v", inst.ID, name, err)
		}
	}
}

func TestLoopbackFromAnAddressOfThisMachineIsTheNodes(t *testing.T) {
	own := ownAddress(t)
	r := start(t, memory.NewStore())
	for address, want := range map[string]string{"127.0.0.5": "127.0.0.5", "localhost": "127.0.0.1", "::1": "::1", "": own, "0.0.0.0": own} {
		reg := web("web-1")
		reg.Address = address
		inst, err := r.Register(as(t, identity.Service, own), reg)
		if err != nil || inst.Address != want {
			t.Errorf("%q from %s is at %q, %v, want %q", address, own, inst.Address, err, want)
		}
	}
}

// ownAddress returns an address of this machine that is not loopback.
func ownAddress(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback: connect it to a network")
	return ""
}

func TestOwnListenersAreRefusedByNameToo(t *testing.T) {
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	resolve := func(ctx context.Context, name string) ([]netip.Addr, error) {
		asked = append(asked, name)
		switch name {
		case "us.example":
			return []netip.Addr{netip.MustParseAddr("10.9.9.9"), netip.MustParseAddr("::ffff:10.0.0.3")}, nil
		case "stuck.example":
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return []netip.Addr{netip.MustParseAddr("10.9.9.9")}, nil
	}
	own := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.3:5020"), netip.MustParseAddrPort("[::]:5443")}
	for _, c := range []struct {
		name, address string
		port          int
		refused       bool
		asked         int
	}{
		{"a name of ours at our port", "us.example", 5020, true, 1},
		{"a name of ours with a dot at its end", "us.example.", 5020, true, 1},
		{"a name of another machine", "them.example", 5020, false, 1},
		{"a name that cannot be looked up in time", "stuck.example", 5020, false, 1},
		{"a name of ours at another port is not looked up", "us.example", 80, false, 0},
		{"the host's own name is not looked up", hostname, 5443, true, 0},
		{"nor in capitals", strings.ToUpper(hostname), 5443, true, 0},
		{"another name of loopback", "localhost.localdomain", 5443, true, 0},
		{"and of its IPv6 form", "ip6-localhost", 5443, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked = nil
				r := startWith(t, registry.Config{NodeID: node, Resolve: resolve,
					OwnListeners: func() []netip.AddrPort { return own }}, memory.NewStore())
				reg := web("web-1")
				reg.Address, reg.Port = c.address, c.port
				began := time.Now()
				_, err := r.Register(service(t), reg)
				if refused := cmp.Equal(fieldsOf(err), []string{"port"}); refused != c.refused || (err != nil) != c.refused {
					t.Errorf("Register = %v, want refused = %v", err, c.refused)
				}
				if len(asked) != c.asked || time.Since(began) > 500*time.Millisecond {
					t.Errorf("looked up %q in %s, want %d within 500ms", asked, time.Since(began), c.asked)
				}
			})
		})
	}
}

func TestLoopbackIsStoredAsTheNodes(t *testing.T) {
	store := memory.NewStore()
	r := start(t, store)
	reg := web("web-1")
	reg.Address = "127.0.0.5"
	if _, err := r.Register(as(t, identity.Service, "127.0.0.1"), reg); err != nil {
		t.Fatal(err)
	}
	_, values, err := store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rec, err := registry.Decode(values[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	if rec.Address != "node:"+node || rec.Loopback != "127.0.0.5" {
		t.Errorf("stored address = %q, %q, want node:%s, 127.0.0.5", rec.Address, rec.Loopback, node)
	}
}

func TestOwnListenersAreRefused(t *testing.T) {
	own := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:5000"), netip.MustParseAddrPort("10.0.0.3:5020"),
		netip.MustParseAddrPort("[::]:5443")}
	r := startWith(t, registry.Config{NodeID: node, OwnListeners: func() []netip.AddrPort { return own }}, memory.NewStore())
	for _, c := range []struct {
		name, address, caller string
		port                  int
		refused               bool
	}{
		{"loopback at our port", "127.0.0.1", "127.0.0.1", 5000, true},
		{"nothing at our port, from the node", "", "127.0.0.1", 5000, true},
		{"unspecified at our port, from the node", "0.0.0.0", "127.0.0.1", 5000, true},
		{"the exact address", "10.0.0.3", "10.0.0.9", 5020, true},
		{"loopback where we listen on every address", "localhost", "127.0.0.1", 5443, true},
		{"our port on another machine", "", "10.0.0.9", 5000, false},
		{"another port", "127.0.0.1", "127.0.0.1", 5001, false},
		{"loopback where we listen elsewhere", "127.0.0.1", "127.0.0.1", 5020, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			reg := web("web-1")
			reg.Address, reg.Port = c.address, c.port
			_, err := r.Register(as(t, identity.Service, c.caller), reg)
			want := []string(nil)
			if c.refused {
				want = []string{"port"}
			}
			if d := cmp.Diff(want, fieldsOf(err)); d != "" || (err != nil) != c.refused {
				t.Errorf("Register = %v (-want +got):\n%s", err, d)
			}
		})
	}
}
