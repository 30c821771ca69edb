//go:build unix

package app_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/nodeapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// used is a data directory of a node that has run and has a last table with the service web.
func used(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	r := start(t, dir, nil)
	r.register(mesh.Registration{Service: "web", Address: "127.0.0.1", Port: service(t), Lifetime: mesh.Permanent})
	r.until("the table is saved", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "tables", "last.json"))
		return err == nil && strings.Contains(string(b), `"web"`)
	})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// spoilStore overwrites the head of the store's database.
func spoilStore(t *testing.T, dir string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "store", "member", "snap", "db"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(strings.Repeat("x", 16<<10)), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// found waits for the pointer of the node, which it leaves before it is ready.
func (r *running) found(t *testing.T) {
	t.Helper()
	r.until("the node is found before it is ready", func() bool {
		living, err := pointer.Living(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(living) == 1 {
			r.Ready = living[0]
		}
		return len(living) == 1
	})
}

func TestAStoreThatCannotBeOpenedLeavesTheLastTableServed(t *testing.T) {
	dir := used(t)
	spoilStore(t, dir)
	ready := filepath.Join(t.TempDir(), "ready.json")
	r := beginWith(t, dir, nil, func(c *app.Config) { c.ReadyFile = ready })
	r.found(t)
	r.until("the gateway serves", func() bool { status, _ := r.gateway("/api/web/"); return status == http.StatusOK })

	c := nodeapi.NewClient(r.Addresses["control"], r.AdminToken)
	defer c.Close()
	var st mesh.Status
	r.until("status raises the alarm", func() bool {
		var err error
		if st, err = c.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(st.Alarms, func(a mesh.Alarm) bool {
			return a.Code == app.CodeStoreUnopened && strings.Contains(a.Detail, "restore it from a backup") && strings.Contains(a.Detail, "restart")
		})
	})
	if i := slices.IndexFunc(st.Roles, func(r mesh.RoleStatus) bool { return r.Name == "store" }); st.Ready ||
		i < 0 || st.Roles[i].State != "failed" || st.Roles[i].Reason == "" || !st.Table.Stale {
		t.Errorf("status = %+v, want a store that failed with its reason, a stale table, and a node that is not ready", st)
	}
	d := discoveryapi.NewClient(r.Addresses["control"], r.ServiceToken)
	defer d.Close()
	if _, err := d.Register(t.Context(), mesh.Registration{Service: "x", Address: "127.0.0.1", Port: 1, Lifetime: mesh.Permanent}); mesh.CodeOf(err) != mesh.CodeUnavailable {
		t.Errorf("Register = %v, want unavailable", err)
	}
	if _, err := os.Stat(ready); err == nil {
		t.Error("the ready file is there, and the node is not ready")
	}
}

func TestAStoreThatIsInUseIsOpenedOnceItIsFree(t *testing.T) {
	dir := used(t)
	release := holdDatabase(t, filepath.Join(dir, "store", "member", "snap", "db"))
	r := beginWith(t, dir, nil, nil)
	r.found(t)
	r.until("status says who is in the way", func() bool { return r.alarmed("another process has it open") })
	if status, _ := r.gateway("/api/web/"); status != http.StatusOK {
		t.Errorf("the gateway answers %d", status)
	}
	release()
	r.awaitReady()
	r.until("the alarm has ended", func() bool { return len(r.alarms()) == 0 })
}

func TestAFirstStartWithADamagedStoreEnds(t *testing.T) {
	dir := used(t)
	spoilStore(t, dir)
	if err := os.Remove(filepath.Join(dir, "tables", "last.json")); err != nil {
		t.Fatal(err)
	}
	r := beginWith(t, dir, nil, nil)
	r.stopped = true
	if err := <-r.done; mesh.CodeOf(err) != mesh.CodeStoreDamaged {
		t.Errorf("Run = %v, want the damage", err)
	}
}

func TestAGatewayAloneServesWhatItKnows(t *testing.T) {
	alone := func(c *app.Config) { c.Roles = []string{app.RoleGateway} }
	t.Run("its last table", func(t *testing.T) {
		dir := used(t)
		before, err := os.ReadFile(filepath.Join(dir, "tables", "last.json"))
		if err != nil {
			t.Fatal(err)
		}
		r := startWith(t, dir, nil, alone)
		if status, _ := r.gateway("/api/web/"); status != http.StatusOK {
			t.Errorf("the service of the last table answers %d", status)
		}
		d := discoveryapi.NewClient(r.Addresses["control"], r.ServiceToken)
		defer d.Close()
		if _, err := d.Snapshot(t.Context()); err == nil || !strings.Contains(err.Error(), "discovery does not run on this node") {
			t.Errorf("Snapshot = %v, want that discovery does not run", err)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if after, err := os.ReadFile(filepath.Join(dir, "tables", "last.json")); err != nil || string(after) != string(before) {
			t.Errorf("the last table was changed: %v", err)
		}
	})
	t.Run("its file", func(t *testing.T) {
		file := newConfigFile(t, manyRoutes(1, "127.0.0.1:"+portText(t), func(int) bool { return false }))
		r := startWith(t, t.TempDir(), nil, func(c *app.Config) { file.use(c); alone(c) })
		if status, body := r.gateway("/p0/x"); status != http.StatusOK {
			t.Errorf("the route of the file answers %d %s", status, body)
		}
	})
}

func TestALookAtTheDataFindsADamagedStoreAndChangesNothing(t *testing.T) {
	dir := used(t)
	if st, err := app.InspectData(dir); err != nil || len(st.Problems) > 0 {
		t.Fatalf("InspectData of a sound one = %+v, %v", st, err)
	}
	spoilStore(t, dir)
	db := filepath.Join(dir, "store", "member", "snap", "db")
	before, err := os.Stat(db)
	if err != nil {
		t.Fatal(err)
	}
	st, err := app.InspectData(dir)
	if err != nil || len(st.Problems) != 1 || mesh.CodeOf(st.Problems[0]) != mesh.CodeStoreDamaged {
		t.Errorf("InspectData = %+v, %v, want the damage", st, err)
	}
	if after, err := os.Stat(db); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the store was written to: %v", err)
	}
}
