package toska_mesh_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// planted is one file and what it breaks.
type planted struct {
	file string
	// imports are of this module where they start with "./".
	imports []string
	// body follows the imports; clause replaces the package clause.
	body, clause string
	// rule is the one violation expected, at file; empty for none.
	rule string
	// beside are files that must be there for it.
	beside []planted
}

var plants = []planted{
	// Row by row of the import table: what may not be there.
	{file: "mesh/bad.go", imports: []string{"./internal/util/clock"}, rule: "mesh imports the standard library only"},
	{file: "mesh/third.go", imports: []string{"github.com/google/uuid"}, rule: "third parties are listed with a reason"},
	{file: "mesh/bad_test.go", imports: []string{"./internal/role/gateway"}, rule: "the ground floor's tests stand on the ground floor"},
	{file: "ui/bad.go", imports: []string{"./mesh"}, rule: "ui imports the standard library only"},
	{file: "docs/bad.go", imports: []string{"./mesh"}, rule: "docs imports the standard library only"},
	{file: "internal/wire/gatewayapi/docs.go", imports: []string{"./docs"},
		rule: "a wire imports mesh, wings, api, leaves and wire/httpapi; never a role, a backend or another wire"},
	{file: "internal/util/clock/bad.go", imports: []string{"./mesh"}, rule: "a leaf imports the standard library only"},
	{file: "internal/util/leaf.go", clause: "package leaf", rule: "a package is named for what it holds"},
	{file: "internal/nowhere/bad.go", rule: "every package has a floor"},
	{file: "api/area/v1/bad.go", imports: []string{"./mesh"}, rule: "api is generated code: it imports api and its runtimes"},
	{file: "internal/lifecycle/bad.go", imports: []string{"./mesh"}, rule: "lifecycle imports leaves only"},
	{file: "internal/traffic/route/bad.go", imports: []string{"./internal/state/registry"},
		rule: "traffic imports mesh, its own wing, trust, signal and leaves"},
	{file: "internal/state/registry/bad.go", imports: []string{"./internal/traffic/route"},
		rule: "state imports mesh, its own wing, trust, signal and leaves"},
	{file: "internal/state/registry/up.go", imports: []string{"./internal/backend/memory"},
		rule: "state imports mesh, its own wing, trust, signal and leaves"},
	{file: "internal/trust/token/bad.go", imports: []string{"./internal/signal/accesslog"},
		rule: "trust imports mesh, its own wing and leaves"},
	{file: "internal/signal/accesslog/bad.go", imports: []string{"./internal/trust/token"},
		rule: "signal imports mesh, its own wing and leaves"},
	{file: "internal/signal/accesslog/third.go", imports: []string{"github.com/rs/zerolog"},
		rule: "third parties are listed with a reason"},
	{file: "internal/role/gateway/role.go", imports: []string{"./internal/role/discovery"},
		rule: "a role imports mesh, wings, lifecycle and leaves; never a wire, a backend or another role"},
	{file: "internal/role/gateway/wire.go", imports: []string{"./internal/wire/gatewayapi"},
		rule: "a role imports mesh, wings, lifecycle and leaves; never a wire, a backend or another role"},
	{file: "internal/role/gateway/backend.go", imports: []string{"./internal/backend/memory"},
		rule: "a role imports mesh, wings, lifecycle and leaves; never a wire, a backend or another role"},
	{file: "internal/role/gateway/third.go", imports: []string{"google.golang.org/grpc"},
		rule: "third parties are listed with a reason"},
	{file: "internal/role/gateway/http.go", imports: []string{"net/http"}, rule: "a role never sees HTTP"},
	{file: "internal/role/gateway/go.go", body: "func f() { go f() }", rule: "a role starts goroutines through lifecycle.Group"},
	{file: "internal/wire/gatewayapi/role.go", imports: []string{"./internal/role/gateway"},
		rule: "a wire imports mesh, wings, api, leaves and wire/httpapi; never a role, a backend or another wire"},
	{file: "internal/wire/gatewayapi/backend.go", imports: []string{"./internal/backend/memory"},
		rule: "a wire imports mesh, wings, api, leaves and wire/httpapi; never a role, a backend or another wire"},
	{file: "internal/wire/gatewayapi/other.go", imports: []string{"./internal/wire/discoveryapi"},
		rule: "a wire imports mesh, wings, api, leaves and wire/httpapi; never a role, a backend or another wire"},
	{file: "internal/wire/gatewayapi/ui.go", imports: []string{"./ui"},
		rule: "a wire imports mesh, wings, api, leaves and wire/httpapi; never a role, a backend or another wire"},
	{file: "internal/wire/dashboardapi/role.go", imports: []string{"./internal/role/gateway"},
		rule: "dashboardapi imports what a wire imports, and ui"},
	{file: "internal/wire/gatewayapi/third.go", imports: []string{"go.etcd.io/etcd/client/v3"},
		rule: "third parties are listed with a reason"},
	{file: "internal/backend/memory/role.go", imports: []string{"./internal/role/gateway"},
		rule: "a backend imports mesh, wings, lifecycle and leaves; never a role, a wire or another backend"},
	{file: "internal/backend/memory/third.go", imports: []string{"go.etcd.io/etcd/client/v3"},
		rule: "third parties are listed with a reason"},
	{file: "toska/bad.go", imports: []string{"./internal/state/registry"},
		rule: "toska imports mesh, api, wire, traffic, trust, signal, lifecycle and leaves"},
	{file: "toska/otel.go", imports: []string{"go.opentelemetry.io/otel/exporters/otlp/otlptrace"},
		rule: "third parties are listed with a reason"},
	{file: "toska/satellite.go", imports: []string{"./toska/toskagrpc"},
		rule: "toska imports mesh, api, wire, traffic, trust, signal, lifecycle and leaves"},
	{file: "toska/toskagrpc/bad.go", imports: []string{"./internal/wire/discoveryapi"}, rule: "toskagrpc imports toska and mesh"},
	{file: "toska/toskaotel/bad.go", imports: []string{"./internal/wire/discoveryapi"}, rule: "toskaotel imports toska and mesh"},
	{file: "toska/toskatest/bad.go", imports: []string{"./internal/cli"}, rule: "toskatest imports app, toska and mesh"},
	{file: "internal/app/bad.go", imports: []string{"./internal/cli"},
		rule: "app imports everything below it, and neither cli nor toskatest"},
	{file: "internal/cli/bad.go", imports: []string{"./internal/role/gateway"},
		rule: "cli imports mesh, docs, toska, wires, wings, lifecycle, leaves and app"},
	{file: "internal/role/gateway/app.go", imports: []string{"./internal/app"},
		rule: "app is imported by cli, toskatest and tests only"},
	{file: "cmd/toska/bad.go", imports: []string{"./internal/app"}, clause: "package main",
		rule: "app is imported by cli, toskatest and tests only"},
	{file: "cmd/toska/mesh.go", imports: []string{"./mesh"}, clause: "package main", rule: "cmd/toska imports cli only"},
	{file: "cmd/toska/long.go", clause: "package main", body: strings.Repeat("\n", 40), rule: "a main is under 40 lines"},
	{file: "examples/hello/bad.go", imports: []string{"./internal/lifecycle"}, rule: "an example imports public packages only"},

	// What no floor may do.
	{file: "internal/state/registry/suite.go", imports: []string{"./internal/state/registry/registrytest"},
		rule:   "test packages are imported by tests only",
		beside: []planted{{file: "internal/state/registry/registrytest/suite.go"}}},
	{file: "internal/state/lease/hidden.go", body: "func init() {}", rule: "nothing runs by being imported"},
	{file: "internal/state/lease/c.go", imports: []string{"C"}, rule: "the binary is pure Go"},
	{file: "internal/state/helpers/bad.go", rule: "a package is named for what it holds"},
	{file: "internal/util/common/bad.go", clause: "package common", rule: "a package is named for what it holds"},
	{file: "internal/util/words/bad.go", clause: "package types", rule: "a package is named for what it holds"},

	// The SDK's reach, two steps away.
	{file: "internal/wire/familyapi/types.go", imports: []string{"./api/family/discovery/v1"},
		rule: "what the SDK never compiles",
		beside: []planted{
			{file: "toska/toskagrpc/reach.go", imports: []string{"./toska"}},
			{file: "toska/reach.go", imports: []string{"./internal/wire/familyapi"}},
		}},
}

// sound is what is allowed, so that a checker that refuses everything is seen as well.
var sound = []planted{
	{file: "internal/role/gateway/ok.go", imports: []string{"context", "./mesh", "./internal/traffic/route", "./internal/lifecycle"}},
	{file: "internal/role/gateway/ok_test.go", imports: []string{"./internal/backend/memory"}, body: "func f() { go f() }"},
	{file: "internal/traffic/route/ok.go", imports: []string{"./internal/traffic/balance", "./internal/trust/token"}},
	{file: "internal/wire/discoveryapi/ok.go", imports: []string{"./internal/wire/httpapi", "./api/area/v1", "connectrpc.com/connect"}},
	{file: "internal/wire/dashboardapi/ok.go", imports: []string{"./ui", "./internal/wire/httpapi"}},
	{file: "internal/backend/etcd/ok.go", imports: []string{"go.etcd.io/etcd/client/v3", "./internal/state/registry"}},
	{file: "internal/state/registry/registrytest/ok.go", imports: []string{"testing", "pgregory.net/rapid", "./mesh", "./internal/state/registry"}},
	{file: "internal/util/clock/ok.go", imports: []string{"golang.org/x/sys/unix"}},
	{file: "api/area/v1/area.pb.go", clause: "// Code generated by a generator. DO NOT EDIT.\npackage v1", body: "func init() {}"},
	{file: "internal/app/ok.go", imports: []string{"./internal/role/gateway", "./internal/wire/httpapi", "./internal/backend/etcd"}},
	{file: "internal/state/lease/testdata/ignored.go", imports: []string{"./internal/cli"}},
}

func TestEveryPlantedViolationIsCaught(t *testing.T) {
	rules := map[string]bool{}
	for _, p := range plants {
		rules[p.rule] = true
		t.Run(p.file, func(t *testing.T) {
			root := t.TempDir()
			p.write(t, root)
			violations, err := inspect(os.DirFS(root))
			if err != nil {
				t.Fatal(err)
			}
			if len(violations) != 1 || violations[0].file != p.file || violations[0].rule != p.rule {
				t.Fatalf("caught %q, want one violation of %q in %s", violations, p.rule, p.file)
			}
			if v := violations[0].String(); !strings.HasPrefix(v, p.file+":") || !strings.Contains(v, p.rule) {
				t.Errorf("the message %q does not name both file and rule", v)
			}
		})
	}
	for _, r := range rooms {
		if !rules[r.rule] && r.packages != "test/..." {
			t.Errorf("no planted file breaks the rule %q", r.rule)
		}
	}
}

func TestASoundHouseHasNoViolations(t *testing.T) {
	root := t.TempDir()
	for _, p := range sound {
		p.write(t, root)
	}
	violations, err := inspect(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Error(v)
	}
}

func TestATreeThatDoesNotParseIsAnError(t *testing.T) {
	root := t.TempDir()
	planted{file: "mesh/bad.go", body: "func {"}.write(t, root)
	if _, err := inspect(os.DirFS(root)); err == nil || !strings.Contains(err.Error(), "mesh/bad.go") {
		t.Errorf("inspect = %v, want an error that names the file", err)
	}
}

func (p planted) write(t *testing.T, root string) {
	t.Helper()
	for _, other := range p.beside {
		other.write(t, root)
	}
	var b strings.Builder
	if p.clause == "" {
		p.clause = "package " + filepath.Base(filepath.Dir(p.file))
	}
	b.WriteString(p.clause + "\n\n")
	for _, imp := range p.imports {
		if inner, ok := strings.CutPrefix(imp, "./"); ok {
			imp = module + "/" + inner
		}
		fmt.Fprintf(&b, "import _ %q\n", imp)
	}
	b.WriteString(p.body + "\n")
	file := filepath.Join(root, filepath.FromSlash(p.file))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
