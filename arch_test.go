package toska_mesh_test

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// room is one row of the import table: the packages it is about, and what of this module they may
// import beside the standard library. A pattern of three dots takes in everything below.
type room struct {
	packages string
	may      []string
	// own is how many leading path elements make "the same one": its parts may import each other.
	own int
	// rule is the row in words, as a violation prints it.
	rule string
}

const leaves = "internal/util/..."

// rooms is the import table of docs/design.md. The first row that fits a package is its row.
var rooms = []room{
	{"mesh", nil, 0, "mesh imports the standard library only"},
	{"ui", nil, 0, "ui imports the standard library only"},
	{"docs", nil, 0, "docs imports the standard library only"},
	{leaves, nil, 0, "a leaf imports the standard library only"},
	{"api/...", []string{"api/..."}, 0, "api is generated code: it imports api and its runtimes"},
	{"internal/lifecycle", []string{leaves}, 0, "lifecycle imports leaves only"},

	{"internal/traffic/...", []string{"mesh", leaves, "internal/trust/...", "internal/signal/..."}, 2,
		"traffic imports mesh, its own wing, trust, signal and leaves"},
	{"internal/state/...", []string{"mesh", leaves, "internal/trust/...", "internal/signal/..."}, 2,
		"state imports mesh, its own wing, trust, signal and leaves"},
	{"internal/trust/...", []string{"mesh", leaves}, 2, "trust imports mesh, its own wing and leaves"},
	{"internal/signal/...", []string{"mesh", leaves}, 2, "signal imports mesh, its own wing and leaves"},

	{"internal/role/...", append([]string{"mesh", leaves, "internal/lifecycle"}, wings...), 3,
		"a role imports mesh, wings, lifecycle and leaves; never a wire, a backend or another role"},
	{"internal/wire/dashboardapi/...", append([]string{"mesh", leaves, "api/...", "internal/wire/httpapi", "ui"}, wings...), 3,
		"dashboardapi imports what a wire imports, and ui"},
	{"internal/wire/...", append([]string{"mesh", leaves, "api/...", "internal/wire/httpapi"}, wings...), 3,
		"a wire imports mesh, wings, api, leaves and wire/httpapi; never a role, a backend or another wire"},
	{"internal/backend/...", append([]string{"mesh", leaves, "internal/lifecycle"}, wings...), 3,
		"a backend imports mesh, wings, lifecycle and leaves; never a role, a wire or another backend"},

	{"toska", []string{"mesh", leaves, "api/...", "internal/wire/...", "internal/traffic/...", "internal/trust/...",
		"internal/signal/...", "internal/lifecycle"}, 0,
		"toska imports mesh, api, wire, traffic, trust, signal, lifecycle and leaves"},
	{"toska/toskagrpc", []string{"mesh", "toska"}, 0, "toskagrpc imports toska and mesh"},
	{"toska/toskaotel", []string{"mesh", "toska"}, 0, "toskaotel imports toska and mesh"},
	{"toska/toskatest", []string{"mesh", "toska", "internal/app"}, 0, "toskatest imports app, toska and mesh"},

	{"internal/app/...", append([]string{"mesh", leaves, "api/...", "ui", "docs", "internal/lifecycle", "internal/role/...",
		"internal/wire/...", "internal/backend/...", "toska"}, wings...), 2,
		"app imports everything below it, and neither cli nor toskatest"},
	{"internal/cli/...", append([]string{"mesh", leaves, "docs", "toska", "internal/wire/...", "internal/lifecycle", "internal/app"}, wings...), 2,
		"cli imports mesh, docs, toska, wires, wings, lifecycle, leaves and app"},
	{"cmd/toska", []string{"internal/cli"}, 0, "cmd/toska imports cli only"},

	{"examples/...", []string{"mesh", "toska/...", "api/..."}, 2, "an example imports public packages only"},
	{"test/...", []string{"..."}, 0, "test imports what it tests"},
}

var wings = []string{"internal/traffic/...", "internal/state/...", "internal/trust/...", "internal/signal/..."}

// allowance is one import from another module, where it may be and why.
type allowance struct{ in, path, reason string }

// suites stands for every conformance suite, and for tests.
const suites = "<x>test"

// thirdParty is all that is imported from other modules outside of tests.
var thirdParty = []allowance{
	{leaves, "golang.org/x/sys/...", "the system calls that package syscall froze without"},
	{leaves, "golang.org/x/term", "whether someone looks at the output, and how wide it is"},

	{"api/...", "google.golang.org/protobuf/...", "runtime of the generated messages"},
	{"api/...", "google.golang.org/grpc/...", "runtime of the generated gRPC stubs"},
	{"api/...", "connectrpc.com/connect", "runtime of the generated Connect stubs"},

	{"internal/wire/...", "connectrpc.com/connect", "gRPC, gRPC-Web and Connect on one port"},
	{"internal/wire/...", "connectrpc.com/grpchealth", "gRPC's health protocol"},
	{"internal/wire/...", "connectrpc.com/grpcreflect", "gRPC's reflection protocol"},
	{"internal/wire/...", "google.golang.org/protobuf/...", "what the messages on the wire are made of"},
	{"internal/wire/...", "google.golang.org/grpc/...", "gRPC where connect costs too much"},
	{"internal/wire/...", "github.com/danielgtaylor/huma/v2/...", "REST that describes itself as OpenAPI 3.1"},

	{"internal/backend/etcd/...", "go.etcd.io/etcd/...", "the store that it embeds"},
	{"internal/backend/etcd/...", "go.etcd.io/bbolt/...", "the file format of that store"},
	{"internal/backend/etcd/...", "go.uber.org/zap/...", "that store logs to zap; it is bridged to slog"},
	{"internal/backend/etcd/...", "google.golang.org/grpc/...", "codes of that store's errors"},
	{"internal/backend/etcd/...", "golang.org/x/sys/...", "free space of the disk under it"},

	{"internal/backend/file/...", "golang.org/x/sys/...", "locks on files, free space"},

	{"internal/traffic/routefile/...", "github.com/goccy/go-yaml/...", "a parser that knows where everything was written"},
	{"internal/backend/otel/...", "go.opentelemetry.io/...", "the exporters of spans"},
	{"internal/signal/series/...", "github.com/prometheus/client_golang/...", "the series that are scraped"},
	{"internal/wire/metricsapi/...", "github.com/prometheus/client_golang/...", "their exposition"},

	{"toska", "github.com/prometheus/client_golang/prometheus/promhttp", "exposition of the service's own series"},
	{"toska", "go.opentelemetry.io/otel", "the program's own tracer provider and propagator"},
	{"toska", "go.opentelemetry.io/otel/attribute", "the API of spans"},
	{"toska", "go.opentelemetry.io/otel/codes", "the API of spans"},
	{"toska", "go.opentelemetry.io/otel/propagation", "how a trace is written into fields"},
	{"toska", "go.opentelemetry.io/otel/trace", "the API of spans; the exporter is the program's own"},
	{"toska/toskagrpc", "google.golang.org/grpc/...", "what it plugs into"},
	{"toska/toskagrpc", "go.opentelemetry.io/otel", "the program's own tracer provider"},
	{"toska/toskagrpc", "go.opentelemetry.io/otel/attribute", "the API of spans"},
	{"toska/toskagrpc", "go.opentelemetry.io/otel/codes", "the API of spans"},
	{"toska/toskagrpc", "go.opentelemetry.io/otel/trace", "the API of spans; the exporter is the program's own"},
	{"toska/toskaotel", "go.opentelemetry.io/...", "what it plugs into"},

	{"internal/cli/...", "github.com/spf13/cobra/...", "commands, flags, help, completion"},
	{"internal/cli/...", "github.com/spf13/pflag", "cobra's flags by their own name"},
	{"internal/cli/...", "golang.org/x/term", "whether someone looks at the output"},
	{"internal/cli/...", "golang.org/x/sys/...", "process groups and job objects of the programs it runs"},

	{"examples/...", "...", "an example shows the SDK beside what its users use"},
	{"test/...", "...", "tests use what their subject's users use"},
	{suites, "github.com/google/go-cmp/...", "differences in failures"},
	{suites, "pgregory.net/rapid", "properties"},
	{suites, "go.uber.org/goleak", "goroutines left behind"},
}

// sdkNever is what a program that joins the mesh never compiles, by any path.
var sdkNever = []struct{ path, reason string }{
	{module + "/internal/role/...", "a program that joins runs no role"},
	{module + "/internal/backend/...", "a program that joins holds no backend"},
	{module + "/api/family/...", "its messages would be registered twice beside the family's own SDK"},
	{"github.com/quic-go/...", "a plain HTTP service does not carry QUIC"},
}

// vagueNames say nothing of what is inside.
var vagueNames = []string{"util", "utils", "common", "types", "helper", "helpers", "manager", "managers", "misc", "base", "shared"}

// violation is one broken rule.
type violation struct {
	file   string
	line   int
	rule   string
	detail string
}

func (v violation) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", v.file, v.line, v.rule, v.detail)
}

// house is a tree of sources under inspection.
type house struct {
	sources    []*source
	dirs       map[string]bool // directories that hold a package
	violations []violation
}

// inspect returns every violation in the tree, ordered by file and line.
func inspect(tree fs.FS) ([]violation, error) {
	sources, err := readTree(tree, false)
	if err != nil {
		return nil, err
	}
	h := &house{sources: sources, dirs: map[string]bool{}}
	for _, s := range sources {
		h.dirs[s.dir] = h.dirs[s.dir] || !s.test
	}
	for _, s := range sources {
		h.checkName(s)
		h.checkStatements(s)
		h.checkImports(s)
	}
	h.checkSDK()
	slices.SortFunc(h.violations, func(a, b violation) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.line, b.line), cmp.Compare(a.rule, b.rule))
	})
	return h.violations, nil
}

func (h *house) report(s *source, line int, rule, format string, args ...any) {
	h.violations = append(h.violations, violation{s.path, line, rule, fmt.Sprintf(format, args...)})
}

// checkName refuses packages whose name says nothing.
func (h *house) checkName(s *source) {
	name := strings.TrimSuffix(s.ast.Name.Name, "_test")
	if slices.Contains(vagueNames, name) || slices.Contains(vagueNames, path.Base(s.dir)) {
		h.report(s, s.line(s.ast.Name.Pos()), "a package is named for what it holds", "%q says nothing", name)
	}
}

// checkStatements refuses what may not be written: hidden starts, bare goroutines in roles, a long main.
func (h *house) checkStatements(s *source) {
	if s.generated || s.test {
		return
	}
	if matches(s.dir, "cmd/...") && s.lines >= 40 {
		h.report(s, s.lines, "a main is under 40 lines", "it has %d", s.lines)
	}
	for _, d := range s.ast.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			h.report(s, s.line(f.Pos()), "nothing runs by being imported", "func init")
		}
	}
	if !matches(s.dir, "internal/role/...") {
		return
	}
	ast.Inspect(s.ast, func(n ast.Node) bool {
		if g, ok := n.(*ast.GoStmt); ok {
			h.report(s, s.line(g.Pos()), "a role starts goroutines through lifecycle.Group", "bare go statement")
		}
		return true
	})
}

// checkImports holds one file to its row of the import table.
func (h *house) checkImports(s *source) {
	if s.test {
		h.checkTestImports(s)
		return
	}
	dir := s.dir
	suite := h.subject(dir)
	if suite != "" {
		dir = suite
	}
	i := slices.IndexFunc(rooms, func(r room) bool { return matches(dir, r.packages) })
	if i < 0 {
		h.report(s, 1, "every package has a floor", "%s is in no row of the import table", s.dir)
		return
	}
	r := rooms[i]
	s.imports(func(p string, pos token.Pos) bool {
		line := s.line(pos)
		inner, own := strings.CutPrefix(p, module+"/")
		switch {
		case p == "C":
			h.report(s, line, "the binary is pure Go", `import "C"`)
		case own && h.subject(inner) != "" && !(suite != "" && h.subject(inner) == suite):
			h.report(s, line, "test packages are imported by tests only", "imports %s", inner)
		case own && inner == "internal/app" && !matches(s.dir, "internal/cli/...", "toska/toskatest", "test/..."):
			h.report(s, line, "app is imported by cli, toskatest and tests only", "imports %s", inner)
		case own:
			if !matches(inner, r.may...) && !sameRoom(dir, inner, r.own) && inner != suite {
				h.report(s, line, r.rule, "imports %s", inner)
			}
		case isStd(p):
			if matches(s.dir, "internal/role/...") && matches(p, "net/http/...") {
				h.report(s, line, "a role never sees HTTP", "imports %s", p)
			}
		case !h.allowed(dir, suite != "", p):
			h.report(s, line, "third parties are listed with a reason", "imports %s", p)
		}
		return true
	})
}

// checkTestImports leaves tests free, but for those of the packages that everything stands on.
func (h *house) checkTestImports(s *source) {
	if !matches(s.dir, "mesh", "ui", "docs", leaves, "internal/lifecycle") {
		return
	}
	s.imports(func(p string, pos token.Pos) bool {
		inner, own := strings.CutPrefix(p, module+"/")
		free := isStd(p) || h.allowed(s.dir, true, p)
		if own {
			free = matches(inner, "mesh", leaves) || inner == s.dir
		}
		if !free {
			h.report(s, s.line(pos), "the ground floor's tests stand on the ground floor", "imports %s", p)
		}
		return true
	})
}

// checkSDK follows the imports of the public SDK through the whole module.
func (h *house) checkSDK() {
	seen := map[string]bool{"toska": true, "toska/toskagrpc": true, "toska/toskaotel": true}
	queue := []string{"toska", "toska/toskagrpc", "toska/toskaotel"}
	for len(queue) > 0 {
		dir := queue[0]
		queue = queue[1:]
		for _, s := range h.sources {
			if s.dir != dir || s.test {
				continue
			}
			s.imports(func(p string, pos token.Pos) bool {
				for _, never := range sdkNever {
					if matches(p, never.path) {
						h.report(s, s.line(pos), "what the SDK never compiles", "it reaches %s here: %s", p, never.reason)
					}
				}
				if inner, own := strings.CutPrefix(p, module+"/"); own && !seen[inner] {
					seen[inner] = true
					queue = append(queue, inner)
				}
				return true
			})
		}
	}
}

// subject returns x for the conformance suite <x>test of a package x above or beside it, or "".
func (h *house) subject(dir string) string {
	name, ok := strings.CutSuffix(path.Base(dir), "test")
	parent := path.Dir(dir)
	switch {
	case !ok || name == "" || dir == "toska/toskatest":
		return ""
	case path.Base(parent) == name:
		return parent
	case h.dirs[path.Join(parent, name)]:
		return path.Join(parent, name)
	}
	return ""
}

// allowed reports whether a package may import a path of another module.
func (h *house) allowed(dir string, forTests bool, p string) bool {
	return slices.ContainsFunc(thirdParty, func(t allowance) bool {
		return (matches(dir, t.in) || forTests && t.in == suites) && matches(p, t.path)
	})
}

// sameRoom reports whether two packages share their first n path elements.
func sameRoom(a, b string, n int) bool {
	if n == 0 {
		return false
	}
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	return len(as) >= n && len(bs) >= n && slices.Equal(as[:n], bs[:n])
}

func isStd(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return !strings.Contains(first, ".") && p != "C"
}

func TestTheHouseFollowsItsPlan(t *testing.T) {
	violations, err := inspect(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Error(v)
	}
}
