package app_test

import (
	"path/filepath"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestANodeInMemoryKeepsItsRegistryAcrossRestartsAndNothingOnDisk(t *testing.T) {
	memory := app.NewMemory()
	t.Chdir(t.TempDir())
	inMemory := func(c *app.Config) { c.Memory, c.DataDir = memory, "" }
	first := startWith(t, "", nil, inMemory)
	c := discoveryapi.NewClient(first.Addresses["control"], first.ServiceToken)
	if _, err := c.Register(t.Context(), mesh.Registration{Service: "web", ID: "web-1", Address: "10.0.0.7", Port: 80, Lifetime: mesh.Permanent}); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if living, err := pointer.Living(t.Context()); err != nil || len(living) != 0 {
		t.Errorf("programs of this user find %v, %v, want nothing", living, err)
	}
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	second := startWith(t, "", nil, inMemory)
	if second.NodeID != first.NodeID || second.ServiceToken != first.ServiceToken || second.DataDir != "" {
		t.Errorf("the node came back as %+v, was %+v", second.Ready, first.Ready)
	}
	c = discoveryapi.NewClient(second.Addresses["control"], second.ServiceToken)
	defer c.Close()
	if i, err := c.Instance(t.Context(), "web-1"); err != nil || i.Service != "web" {
		t.Errorf("after the restart web-1 is %+v, %v", i, err)
	}
	if left, err := filepath.Glob("*"); err != nil || len(left) != 0 {
		t.Errorf("on disk there is %v, %v", left, err)
	}
}
