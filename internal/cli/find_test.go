package cli_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
)

func TestFindingTheNode(t *testing.T) {
	tokenFile := filepath.Join(t.TempDir(), "token")
	empty := filepath.Join(t.TempDir(), "empty")
	for path, content := range map[string]string{tokenFile: "from-file\n", empty: "\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	both := []pointer.Pointer{node("a", 5010), node("b", 6010)}
	secure := node("s", 7010)
	secure.TLS = map[string]string{"control": "/etc/s.crt", "gateway-tls": "/etc/g.crt"}
	for _, tc := range []struct {
		name   string
		living []pointer.Pointer
		env    map[string]string
		args   []string
		code   int
		dialed []string
		says   []string
	}{
		{name: "the one that lives, with its admin token", living: both[:1], dialed: []string{"127.0.0.1:5010 a-admin"}},
		{name: "none", code: 3, says: []string{"none of this user", `to do: start one with "toska up"`}},
		{name: "one that speaks TLS, with the certificate that it must show", living: []pointer.Pointer{secure},
			dialed: []string{"https://127.0.0.1:7010#/etc/s.crt s-admin"}},
		{name: "one that speaks TLS, named without that", living: []pointer.Pointer{secure}, args: []string{"--control", "127.0.0.1:7010"},
			dialed: []string{"https://127.0.0.1:7010#/etc/s.crt s-admin"}},
		{name: "one that speaks TLS elsewhere", args: []string{"--control", "https://mesh.example:5010/", "--token", "t"},
			dialed: []string{"https://mesh.example:5010 t"}},
		{name: "no port behind https", args: []string{"--control", "https://mesh.example"}, code: 2, says: []string{"HOST:PORT"}},
		{name: "several and none chosen", living: both, code: 3,
			says: []string{"2 nodes", "--control 127.0.0.1:5010", "--control 127.0.0.1:6010", "/data/b"}},
		{name: "the one that the flag names, with what is known of it", living: both,
			args: []string{"--control", "127.0.0.1:6010"}, dialed: []string{"127.0.0.1:6010 b-admin"}},
		{name: "the one that its other name names", living: both,
			args: []string{"--control", "localhost:6010"}, dialed: []string{"127.0.0.1:6010 b-admin"}},
		{name: "one elsewhere, without a token", living: both,
			args: []string{"--control", "10.0.0.1:1"}, dialed: []string{"10.0.0.1:1 "}},
		{name: "the one that the environment names", living: both,
			env: map[string]string{"TOSKA_CONTROL": "http://10.0.0.1:1/", "TOSKA_TOKEN": "t"}, dialed: []string{"10.0.0.1:1 t"}},
		{name: "the flag over the environment", living: both, env: map[string]string{"TOSKA_CONTROL": "10.0.0.1:1"},
			args: []string{"--control", "10.0.0.2:1", "--token", "mine"}, dialed: []string{"10.0.0.2:1 mine"}},
		{name: "a token from a file", living: both[:1], args: []string{"--token-file", tokenFile},
			dialed: []string{"127.0.0.1:5010 from-file"}},
		{name: "an empty token file", living: both[:1], args: []string{"--token-file", empty}, code: 2, says: []string{"is empty"}},
		{name: "a missing token file", living: both[:1], args: []string{"--token-file", empty + "x"}, code: 2, says: []string{"--token-file wants"}},
		{name: "both kinds of token", living: both[:1], args: []string{"--token-file", empty, "--token", "t"}, code: 2},
		{name: "an address that is none", args: []string{"--control", "localhost"}, code: 2, says: []string{"HOST:PORT"}},
		{name: "a port that is none", env: map[string]string{"TOSKA_CONTROL": "localhost:99999"}, code: 2, says: []string{"TOSKA_CONTROL"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld()
			w.living = tc.living
			if tc.env != nil {
				w.env = tc.env
			}
			code := w.run(t.Context(), append([]string{"services"}, tc.args...)...)
			w.expect(t, code, tc.code, tc.says...)
			if diff := cmp.Diff(tc.dialed, w.dialed); diff != "" {
				t.Errorf("dialed (-want +got):\n%s", diff)
			}
		})
	}
}
