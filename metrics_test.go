package toska_mesh_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/signal/series"
)

// seriesForm is what our own series are named.
var seriesForm = regexp.MustCompile(`^(toska|gateway_proxy|http_server)_[a-z0-9_]+$`)

// seriesIn returns the string literals of a tree that name a series, outside of tests.
func seriesIn(tree fs.FS) ([]string, error) {
	sources, err := readTree(tree, false)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, s := range sources {
		if s.test || s.generated {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil && seriesForm.MatchString(text) {
					names[text] = true
				}
			}
			return true
		})
	}
	return slices.Sorted(maps.Keys(names)), nil
}

func TestTheListOfSeriesIsCurrent(t *testing.T) {
	const path = "docs/reference/metrics.md"
	want := seriesPage(t)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("%s is out of date; run go test . -run ListOfSeries -update (-page +want):\n%s", path, diff)
	}
}

func TestEverySeriesIsInTheList(t *testing.T) {
	names, err := seriesIn(os.DirFS("internal"))
	if err != nil || len(names) == 0 {
		t.Fatalf("series in the code: %v, %v", names, err)
	}
	page := seriesPage(t)
	for _, name := range names {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("%s is in the code and not in the list of series: let exampleSeries make one", name)
		}
	}
}

func TestSeriesAreFoundInTheCode(t *testing.T) {
	got, err := seriesIn(fstest.MapFS{
		"a/a.go":      {Data: []byte("package a\n\nvar x = []string{\"toska_new_total\", \"toska_new total\", \"other_total\"}\n")},
		"a/a_test.go": {Data: []byte("package a\n\nvar y = \"toska_test_total\"\n")},
	})
	if err != nil || !slices.Equal(got, []string{"toska_new_total"}) {
		t.Errorf("seriesIn = %v, %v", got, err)
	}
}

// exampleSeries is a set in which every series is.
func exampleSeries() *series.Set {
	s := series.New(series.Config{})
	s.Exchanges.Begin("orders", "/api/{service}").End(&series.Outcome{Method: []byte("GET"), Status: 502,
		Version: series.HTTP11, Endpoint: "10.0.0.7:8080", Failure: "TOSKA-UP-RESET"})
	s.Registry(func() series.Registry { return series.Registry{} })
	s.Probes(func() series.Probes { return series.Probes{} })
	s.Upstreams(func(f func(series.Upstream)) { f(series.Upstream{Service: "orders", Retries: 1}) })
	for name, help := range app.SeriesHelp() {
		s.Counter(name, help, func() float64 { return 0 })
	}
	return s
}

func seriesPage(t *testing.T) string {
	t.Helper()
	families, err := exampleSeries().Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("# Metrics\n\nA node serves its series at `/metrics`, on the control port and through the gateway's, in the text format of\n" +
		"Prometheus. Names and labels are those that dashboards of the earlier Toska Mesh projects ask for. `service` and\n" +
		"`service_name` always hold the same.\n\nBeside these there are the `go_*` and `process_*` series of the Prometheus client, as far as the system tells.\n\n" +
		"| series | type | labels | what |\n|---|---|---|---|\n")
	writeSeries(&b, families)
	b.WriteString("\n## A service of the SDK\n\nA service that joins by `toska.Join` serves these at `/metrics` of its own port, labelled with its own name, beside\n" +
		"the `go_*` and `process_*` series of its process.\n\n| series | type | labels | what |\n|---|---|---|---|\n")
	member := series.NewMember("orders", func() (bool, uint64) { return true, 0 })
	member.Begin()
	member.End("GET", 200, 1, 0)
	if families, err = member.Gatherer().Gather(); err != nil {
		t.Fatal(err)
	}
	writeSeries(&b, families)
	return b.String()
}

// writeSeries writes a row for each series of ours.
func writeSeries(b *strings.Builder, families []*dto.MetricFamily) {
	for _, f := range families {
		if name := f.GetName(); strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		labels := map[string]bool{}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels["`"+l.GetName()+"`"] = true
			}
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()),
			strings.Join(slices.Sorted(maps.Keys(labels)), " "), f.GetHelp())
	}
}
