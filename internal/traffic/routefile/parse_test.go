package routefile_test

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
	"github.com/toska-mesh/toska-mesh/mesh"
)

var update = flag.Bool("update", false, "write the golden messages anew")

func compare(a, b netip.Prefix) bool { return a == b }

// Each wrong file says what its golden file says: all problems, and what is left in force.
func TestWrongFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/wrong/*.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d wrong files (%v), want at least 30", len(files), err)
	}
	for _, file := range files {
		base := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(base, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			f, problems := routefile.Parse("mesh.yaml", data)
			if len(problems) == 0 {
				t.Error("a wrong file has no problem")
			}
			if (f == nil) != problems.Fatal() || (problems.Err() != nil) != problems.Fatal() {
				t.Errorf("file = %v, fatal = %v, error = %v: want a file or a fatal problem", f, problems.Fatal(), problems.Err())
			}
			golden := filepath.Join("testdata", "wrong", base+".golden")
			got := told(f, problems)
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("what is told (-golden +got):\n%s", diff)
			}
		})
	}
}

func told(f *routefile.File, problems routefile.Problems) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintln(&b, p)
	}
	if f == nil {
		return b.String() + "\nnothing is taken\n"
	}
	for _, s := range f.Set.Services {
		fmt.Fprintf(&b, "\nin force: service %s", s.Name)
	}
	for _, r := range f.Set.Routes {
		fmt.Fprintf(&b, "\nin force: route %s", r.Name)
	}
	for _, q := range f.Set.Quarantined {
		fmt.Fprintf(&b, "\nquarantined: %s %q at %v: %s", q.Kind, q.Name, q.Origin, q.Reason)
	}
	return b.String() + "\n"
}

func read(t *testing.T, name string) *routefile.File {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "right", name))
	if err != nil {
		t.Fatal(err)
	}
	f, problems := routefile.Parse(name, data)
	if len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	return f
}

func TestTheWholeExample(t *testing.T) {
	at := func(line, column int) route.Origin {
		return route.Origin{File: "example.yaml", Line: line, Column: column}
	}
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32")}
	want := &routefile.File{
		Listeners:      map[string]routefile.Listener{"gateway": {Address: routefile.Address{HostPort: ":80", Origin: at(3, 26)}, Origin: at(3, 3)}},
		Control:        routefile.Address{HostPort: "127.0.0.1:5010", Origin: at(4, 26)},
		Discovery:      routefile.Discovery{Address: routefile.Address{HostPort: "127.0.0.1:8080", Origin: at(5, 26)}, Anonymous: true},
		TrustedProxies: proxies,
		Limits:         routefile.Limits{Fields: 100, FieldBytes: 16 << 10, HeadBytes: 64 << 10},
		OTLP:           routefile.OTLP{Endpoint: "http://127.0.0.1:4318", Protocol: "http", Ratio: 0.1, Origin: at(34, 7)},
		Set: route.Set{
			TrustedProxies: proxies,
			Defaults:       route.Policy{Connect: 2 * time.Second, PerTry: 10 * time.Second, Idle: time.Minute, Attempts: 2, Budget: 0.2},
			Services: []route.ServiceSpec{
				{Name: "orders", Origin: at(12, 3), Strategy: "LeastRequest", Policy: route.Policy{PerTry: 90 * time.Second}},
				{Name: "legacy", Origin: at(13, 3), Strategy: "RoundRobin", Endpoints: []string{"10.0.0.7:8080", "10.0.0.8:8080"},
					Policy: route.Policy{Budget: -1, RetryAll: true}},
				{Name: "Search.v2", Origin: at(14, 3), Endpoints: []string{"[::1]:9000", "search:80"}},
			},
			Routes: []route.Spec{
				{Name: "orders", Origin: at(16, 5), Hosts: []string{"shop.example"}, Prefix: "/orders", Methods: []string{"GET", "POST"},
					StripPrefix: "/orders", Service: "orders", Host: "keep"},
				{Name: "legacy", Origin: at(20, 5), Hosts: []string{"old.shop.example", "10.0.0.1", "[::1]"}, Prefix: "/v1/legacy", ReplacePrefix: "/legacy",
					Service: "legacy", Host: "upstream", KeepEncodedSlash: true, Policy: route.Policy{Total: 5 * time.Second, Attempts: 1}},
				{Name: "root", Origin: at(33, 5), Service: "web", Host: "www.example:8080"},
			},
		},
	}
	if diff := cmp.Diff(want, read(t, "example.yaml"), cmp.Comparer(compare)); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
}

func TestRightFiles(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		routes     []string
	}{
		{"nothing at all", "empty.yaml", nil},
		{"sections whose lines are commented out, between the marks of a document", "sections-empty.yaml", nil},
		{"a mark of the byte order, lines that end as on Windows, lists in their key's column", "windows.yaml", []string{"a", "b"}},
		{"every style of YAML that is read", "styles.yaml", []string{"a"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, r := range read(t, tc.file).Set.Routes {
				got = append(got, r.Name)
			}
			if diff := cmp.Diff(tc.routes, got); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsNotSaidHasItsDefault(t *testing.T) {
	want := &routefile.File{OTLP: routefile.OTLP{Protocol: "grpc", Ratio: 1}}
	if diff := cmp.Diff(want, read(t, "empty.yaml")); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	f, problems := routefile.Parse("f", []byte("otlp: {endpoint: \"h:1\", ratio: 0}"))
	if len(problems) > 0 || f.OTLP.Ratio != 0 {
		t.Errorf("a ratio of 0 is read as %v, %v", f, problems)
	}
}

// manyRoutes is a configuration of n routes, of which those are bad that bad says.
func manyRoutes(n int, bad func(i int) bool) []byte {
	var b strings.Builder
	b.WriteString("routes:\n")
	for i := range n {
		key := "prefix"
		if bad(i) {
			key = "prefx"
		}
		fmt.Fprintf(&b, "  - name: r%d\n    match: {host: shop.example, path: {%s: /p%d}}\n    to: {service: s%d}\n", i, key, i, i)
	}
	return []byte(b.String())
}

func TestOneBadRouteOfThousandsIsQuarantinedAlone(t *testing.T) {
	f, problems := routefile.Parse("mesh.yaml", manyRoutes(10_000, func(i int) bool { return i == 5_000 }))
	if problems.Fatal() || len(problems) != 1 || len(f.Set.Routes) != 9_999 {
		t.Fatalf("%d routes in force, problems %v; want 9999 and one", len(f.Set.Routes), problems)
	}
	want := []route.Refusal{{Kind: "route", Name: "r5000", Origin: route.Origin{File: "mesh.yaml", Line: 15_002, Column: 5},
		Reason: `mesh.yaml:15003:40: routes[5000].match.path.prefx: unknown key (did you mean "prefix"?)`}}
	if diff := cmp.Diff(want, f.Set.Quarantined); diff != "" {
		t.Errorf("quarantined (-want +got):\n%s", diff)
	}
}

func TestTenThousandBadRoutesAreAllNamed(t *testing.T) {
	data := manyRoutes(10_001, func(i int) bool { return i > 0 })
	f, problems := routefile.Parse("mesh.yaml", data)
	if problems.Fatal() || len(problems) != 10_000 || len(f.Set.Quarantined) != 10_000 || len(f.Set.Routes) != 1 {
		t.Fatalf("%d routes, %d quarantined, %d problems; want 1, 10000, 10000", len(f.Set.Routes), len(f.Set.Quarantined), len(problems))
	}
	again, _ := routefile.Parse("mesh.yaml", data)
	if diff := cmp.Diff(f, again); diff != "" {
		t.Errorf("a second reading differs (-first +second):\n%s", diff)
	}
}

func TestTenThousandRoutesOfOneName(t *testing.T) {
	data := "routes:\n" + strings.Repeat("  - {name: a, to: {service: s}}\n", 10_000)
	f, _ := routefile.Parse("mesh.yaml", []byte(data))
	if len(f.Set.Routes) != 0 || len(f.Set.Quarantined) != 10_000 {
		t.Fatalf("%d routes, %d quarantined; want 0, 10000", len(f.Set.Routes), len(f.Set.Quarantined))
	}
	if r := f.Set.Quarantined[9_999].Reason; len(r) > 300 || !strings.Contains(r, "mesh.yaml:2:5") || !strings.Contains(r, "and 9996 more") {
		t.Errorf("reason = %q", r)
	}
}

func TestTooMuchIsRefused(t *testing.T) {
	objects := func(n int, line string) string { return strings.Repeat(line, n) }
	for _, tc := range []struct{ name, data, says string }{
		{"N-16 more than 4 MiB", "#" + strings.Repeat("x", routefile.MaxBytes), "more than 4 MiB"},
		{"too many routes", "routes:\n" + objects(routefile.MaxObjects+1, "- a\n"), "more than 50000 routes"},
		{"too many mistakes", objects(5_000, "x: 1\n"), "more mistakes than are shown"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, problems := routefile.Parse("mesh.yaml", []byte(tc.data))
			if f != nil || !problems.Fatal() || !strings.Contains(problems[len(problems)-1].String(), tc.says) || len(problems) > 101 {
				t.Errorf("file %v, problems %v; want %q", f, problems, tc.says)
			}
		})
	}
}

// Bombs are refused before they go off. The bound is wide, so that a busy machine does not break the
// test; each is refused in a small part of it.
func TestBombsAreRefusedAtOnce(t *testing.T) {
	laughs, err := os.ReadFile("testdata/wrong/laughs.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, data, says string }{
		{"a billion laughs", string(laughs), "anchors"},
		{"a billion laughs in a route", "routes:\n" + strings.ReplaceAll(string(laughs), "\n", "\n  "), "anchors"},
		{"an anchor that holds itself", "a: &a [*a]", "anchors"},
		{"an alias of nothing", "a: *b", "aliases"},
		{"33 deep in brackets", strings.Repeat("[", 33), "nests more than 32 deep"},
		{"100 deep in brackets", strings.Repeat("[", 100) + strings.Repeat("]", 100), "nests more than 32 deep"},
		{"100 deep in braces", strings.Repeat("{a: ", 100) + strings.Repeat("}", 100), "nests more than 32 deep"},
		{"100 deep in lists on a line", strings.Repeat("- ", 100), "nests more than 32 deep"},
		{"4 MiB of brackets", strings.Repeat("[", routefile.MaxBytes), "nests more than 32 deep"},
		{"4 MiB of braces", strings.Repeat("{", routefile.MaxBytes), "nests more than 32 deep"},
		{"4 MiB of NUL", strings.Repeat("\x00", routefile.MaxBytes), "NUL"},
		{"N-16 32 MiB", strings.Repeat("a: b\n", 32<<20/5), "more than 4 MiB"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			data := []byte(tc.data)
			start := time.Now()
			f, problems := routefile.Parse("mesh.yaml", data)
			took := time.Since(start)
			if f != nil || len(problems) != 1 || !strings.Contains(problems[0].Reason, tc.says) {
				t.Fatalf("file %v, problems %v; want one that says %q", f, problems, tc.says)
			}
			if took > 500*time.Millisecond {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestErrShowsTheFirstProblems(t *testing.T) {
	_, problems := routefile.Parse("mesh.yaml", []byte("a1: 1\n"+strings.Repeat("b: 1\n", 20)))
	err := problems.Err()
	if !errors.Is(err, mesh.ErrInvalid) || !strings.Contains(err.Error(), "mesh.yaml:1:1: a1: unknown key") || !strings.Contains(err.Error(), "and 11 more") {
		t.Errorf("error = %v", err)
	}
	_, problems = routefile.Parse("mesh.yaml", []byte("routes: [a]"))
	if len(problems) != 1 || problems.Err() != nil {
		t.Errorf("a problem of one route: %v, error %v; want one and none", problems, problems.Err())
	}
}
