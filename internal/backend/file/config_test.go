package file_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/backend/file"
)

func TestTheLastGoodConfigurationIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c := file.ConfigIn(dir)
	if _, _, ok, err := c.Load("/mesh.yaml"); ok || err != nil {
		t.Fatalf("Load before the directory is there = %v, %v", ok, err)
	}
	d, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := c.Save("/mesh.yaml", []byte("routes: []\n"), at); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, file string
		want       bool
	}{{"the same file", "/mesh.yaml", true}, {"another file", "/other.yaml", false}} {
		text, readAt, ok, err := c.Load(tc.file)
		if ok != tc.want || err != nil || ok && (string(text) != "routes: []\n" || !readAt.Equal(at)) {
			t.Errorf("%s: Load = %q, %v, %v, %v", tc.name, text, readAt, ok, err)
		}
	}
	path := filepath.Join(dir, "tables", "config.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoilt := range map[string]string{
		"a flipped bit": strings.Replace(string(data), `"text":"cm9`, `"text":"cm8`, 1),
		"a torn file":   string(data[:len(data)/2]),
	} {
		if spoilt == string(data) {
			t.Fatalf("%s: nothing was spoilt in %s", name, data)
		}
		if err := os.WriteFile(path, []byte(spoilt), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, ok, err := c.Load("/mesh.yaml"); ok || err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: Load = %v, %v, want an error that names the file", name, ok, err)
		}
	}
}
