package app_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/wire/nodeapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestAConfigurationFileIsInForceReloadedAndSurvivesMistakes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write("routes:\n  - {name: shop, match: {path: {prefix: /shop}}, rewrite: {strip_prefix: /shop}, to: {service: web}}\n" +
		"  - {name: broken, match: {path: {prefix: shop}}, to: {service: web}}\n")
	r := startWith(t, t.TempDir(), nil, func(c *app.Config) {
		if err := c.UseFile(path, func(string) bool { return true }); err != nil {
			t.Fatal(err)
		}
	})
	r.register(mesh.Registration{Service: "web", Address: "127.0.0.1", Port: service(t), Lifetime: mesh.Permanent})
	r.until("the route is in force", func() bool {
		status, body := r.gateway("/shop/hello")
		return status == http.StatusOK && body == "served /hello"
	})
	alarm := func(want string) func() bool {
		return func() bool {
			c := nodeapi.NewClient(r.Addresses["control"], r.AdminToken)
			defer c.Close()
			st, err := c.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range st.Alarms {
				if strings.Contains(a.Detail, want) {
					return true
				}
			}
			return false
		}
	}
	r.until("status names the quarantined route and its place", alarm("mesh.yaml:3:"))

	write("rotues: []\n")
	r.until("status says that the file is not taken, with the word that was meant", alarm(`"routes"`))
	if status, _ := r.gateway("/shop/hello"); status != http.StatusOK {
		t.Errorf("the last good route answers %d", status)
	}

	write("services:\n  old: {endpoints: [\"127.0.0.1:" + portText(t) + "\"]}\nroutes:\n  - {name: shop, match: {path: {exact: /store}}, to: {service: old}}\n")
	r.until("the new file is in force", func() bool {
		gone, _ := r.gateway("/shop/hello")
		status, body := r.gateway("/store")
		return gone == http.StatusNotFound && status == http.StatusOK && body == "served /store"
	})
}

func TestTheLastTableIsServedBeforeTheStoreIsOpen(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, nil)
	r.register(mesh.Registration{Service: "web", Address: "127.0.0.1", Port: service(t), Lifetime: mesh.Permanent})
	r.until("the service is routed", func() bool { status, _ := r.gateway("/api/web/"); return status == http.StatusOK })
	r.until("the table is saved", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "tables", "last.json"))
		return err == nil && strings.Contains(string(b), `"web"`)
	})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	t.Run("U-8 the last good table survives a restart without the store", func(t *testing.T) {
		held := make(chan struct{})
		again := beginWith(t, dir, holdStore(held), nil)
		again.until("the gateway serves its last table", func() bool { status, _ := again.gateway("/api/web/"); return status == http.StatusOK })
		close(held)
		again.awaitReady()
		if status, _ := again.gateway("/api/web/"); status != http.StatusOK {
			t.Errorf("after the store is open: %d", status)
		}
	})
}
