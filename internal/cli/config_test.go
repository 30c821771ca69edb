package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	rightConfig = "services:\n  orders: {balance: round-robin}\nroutes:\n  - {name: a, match: {host: h}, to: {service: orders}}\n"
	badRoute    = rightConfig + "  - {name: b, to: {servise: x}}\n"
	badConfig   = "lisener: {}\ncontrol: {addrss: \"127.0.0.1:1\"}\n"
)

func TestConfigCheck(t *testing.T) {
	right, route, bad := writeFile(t, "right.yaml", rightConfig), writeFile(t, "route.yaml", badRoute), writeFile(t, "bad.yaml", badConfig)
	for _, tc := range []struct {
		name   string
		files  []string
		code   int
		stdout string
		says   string
	}{
		{"a file without a mistake", []string{right}, 0, right + ": ok: 1 service, 1 route\n", ""},
		{"a route that is wrong", []string{route}, 10,
			route + ":5:20: routes[1].to.servise: unknown key (did you mean \"service\"?)\n" +
				route + ": 1 mistake; out of force: route b; in force: 1 service, 1 route\n", "there are mistakes in 1 of 1 file"},
		{"a file that is wrong beside a right one", []string{right, bad}, 10,
			right + ": ok: 1 service, 1 route\n" +
				bad + ":1:1: lisener: unknown key (did you mean \"listeners\"?)\n" +
				bad + ":2:11: control.addrss: unknown key (did you mean \"address\"?)\n" +
				bad + ": 2 mistakes; a node does not take this file\n", "there are mistakes in 1 of 2 files"},
		{"a file that is not there, and one that is", []string{right + ".not", bad[:0] + right}, 6, right + ": ok: 1 service, 1 route\n", "to do: "},
		{"a directory", []string{t.TempDir()}, 10, "", "read the configuration"},
		{"no file", nil, 2, "", "config check --help"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld()
			w.living = nil // it needs no node
			w.expect(t, w.run(t.Context(), append([]string{"config", "check"}, tc.files...)...), tc.code, tc.says)
			if diff := cmp.Diff(tc.stdout, w.stdout.String()); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConfigCheckPrintsJSON(t *testing.T) {
	path := writeFile(t, "mesh.yaml", badRoute)
	w := newWorld()
	w.expect(t, w.run(t.Context(), "config", "check", "--json", path), 10)
	var got map[string]any
	if err := json.Unmarshal([]byte(w.stdout.String()), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"files": []any{map[string]any{"file": path, "ok": false, "taken": true, "services": 1.0, "routes": 1.0, "quarantined": 1.0,
		"problems": []any{map[string]any{"file": path, "line": 5.0, "column": 20.0, "path": "routes[1].to.servise", "reason": "unknown key",
			"nearest": "service", "kind": "route", "name": "b", "fatal": false}}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	right := newWorld()
	right.expect(t, right.run(t.Context(), "config", "check", "--json", writeFile(t, "r.yaml", rightConfig)), 0, `"ok": true`, `"problems": []`)
}

func TestConfigCheckWarnsOfARouteThatTakesAll(t *testing.T) {
	path := writeFile(t, "all.yaml", "routes:\n  - {name: all, to: {service: orders}}\n")
	w := newWorld()
	w.expect(t, w.run(t.Context(), "config", "check", path), 0, path+":2:5: warning: route all shadows the prefix /api/", path+": ok: 0 services, 1 route")
	j := newWorld()
	j.expect(t, j.run(t.Context(), "config", "check", "--json", path), 0, `"ok": true`, `"warnings": [`, `"line": 2`, "shadows the prefix")
}

// What is wrong with a file cannot steer the terminal.
func TestConfigCheckPrintsNoControlCharacters(t *testing.T) {
	w := newWorld()
	w.run(t.Context(), "config", "check", writeFile(t, "mesh.yaml", `"\e[31m": 1`+"\n"+`control: {address: "\e[32m"}`+"\n\tx: 1\n"))
	if strings.ContainsAny(w.stdout.String()+w.stderr.String(), "\x1b\t") {
		t.Errorf("output = %q", w.stdout.String())
	}
}

func TestConfigAlonePrintsItsHelp(t *testing.T) {
	w := newWorld()
	w.expect(t, w.run(t.Context(), "config"), 0, "check", "Examples:")
}
