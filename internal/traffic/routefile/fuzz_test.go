package routefile_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
)

// corpus returns all files that the tests read.
func corpus(t testing.TB) [][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	var out [][]byte
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, data)
	}
	return out
}

// Whatever the bytes, reading them ends, in a time that goes with their number, and what is taken keeps
// the promises of the contract.
func FuzzParse(f *testing.F) {
	for _, data := range corpus(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		start := time.Now()
		file, problems := routefile.Parse("f", data)
		// Far more than is needed for what a fuzzer writes, far less than a square of it.
		if took := time.Since(start); took > 2*time.Second+time.Duration(len(data))*50*time.Microsecond {
			t.Errorf("%d bytes took %v", len(data), took)
		}
		if (file == nil) != problems.Fatal() {
			t.Fatalf("file %v with problems %v", file, problems)
		}
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 1
		for _, p := range problems {
			if p.Origin.Line < 1 || p.Origin.Line > lines || p.Origin.Column < 1 || p.Reason == "" || p.Fatal != (p.Kind == "") {
				t.Errorf("problem %+v in %d lines", p, lines)
			}
		}
		if file != nil {
			checkFile(t, file)
		}
	})
}

func checkFile(t *testing.T, file *routefile.File) {
	t.Helper()
	names := map[string]bool{}
	for _, r := range file.Set.Routes {
		if r.Name == "" || names[r.Name] || r.Service == "" || r.Exact != "" && r.Prefix != "" || r.StripPrefix != "" && r.ReplacePrefix != "" ||
			!strings.HasPrefix(r.Exact+r.Prefix+"/", "/") || len(r.Prefix) > 0 && strings.HasSuffix(r.Prefix, "/") {
			t.Errorf("route %+v", r)
		}
		names[r.Name] = true
	}
	for _, q := range file.Set.Quarantined {
		if q.Reason == "" || q.Name == "" || q.Kind == "" {
			t.Errorf("refusal %+v", q)
		}
	}
}

var emptyItem = regexp.MustCompile(`-[ \t\r]*(#.*)?(\n|$)`)

// What is taken means the same to others: the library's own parser makes the same document of it.
func FuzzTreeAgreesWithTheLibrary(f *testing.F) {
	for _, data := range corpus(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 2<<10 {
			return // the library's parser is slow
		}
		if emptyItem.Match(data) {
			return // the library gives an item that is missing the key of the next line
		}
		got, reason := routefile.Tree(data)
		if reason != "" {
			return
		}
		file, err := parser.ParseBytes([]byte(strings.TrimPrefix(string(data), "\ufeff")), 0, parser.AllowDuplicateMapKey())
		if err != nil {
			t.Fatalf("the library refuses %q, which is read as %s: %v", data, got, err)
		}
		want := "null"
		for _, doc := range file.Docs {
			if doc.Body != nil {
				want = string(appendAST(t, nil, doc.Body))
			}
		}
		if got != want {
			t.Errorf("%q is read as %s, by the library as %s", data, got, want)
		}
	})
}

func appendAST(t *testing.T, b []byte, n ast.Node) []byte {
	t.Helper()
	switch n := n.(type) {
	case *ast.NullNode:
		return append(b, "null"...)
	case *ast.MappingValueNode:
		return appendAST(t, b, ast.Mapping(n.Start, false, n))
	case *ast.MappingNode:
		b = append(b, '{')
		for _, v := range n.Values {
			b = append(append(b, v.Key.GetToken().Value...), ':')
			b = append(appendAST(t, b, v.Value), ',')
		}
		return append(b, '}')
	case *ast.SequenceNode:
		b = append(b, '[')
		for _, v := range n.Values {
			b = append(appendAST(t, b, v), ',')
		}
		return append(b, ']')
	case *ast.LiteralNode:
		return append(append(append(b, '"'), n.Value.Value...), '"')
	default:
		return append(append(append(b, '"'), n.GetToken().Value...), '"')
	}
}
