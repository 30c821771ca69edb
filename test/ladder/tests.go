package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is a line of go test -json.
type event struct {
	Action, Package, ImportPath, Test, Output, FailedBuild string
}

// name is a test, or a package where test is empty.
type name struct{ pkg, test string }

// result is what became of a test or a package.
type result struct {
	action  string // the last of run, pass, fail, skip
	output  strings.Builder
	parent  bool // it has subtests
	failing bool // one of its subtests, or of the package's tests, failed
}

// tests is what became of all of them, in the order of their start. A test with subtests is not
// counted beside them, unless it failed by itself.
type tests struct {
	order                   []name
	results                 map[name]*result
	passed, failed, skipped int
	// stray is what was written past the framework, by a crash most likely.
	stray []byte
}

// readTests reads what go test -json writes, to its end.
func readTests(in io.Reader) (*tests, error) {
	t := &tests{results: map[name]*result{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			t.add(line)
		}
		if err == io.EOF {
			t.count()
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read test events: %w", err)
		}
	}
}

func (t *tests) result(n name) *result {
	r := t.results[n]
	if r == nil {
		r = &result{}
		t.results[n] = r
		t.order = append(t.order, n)
	}
	return r
}

func (t *tests) add(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		t.stray = append(t.stray, line...)
		return
	}
	switch e.Action {
	case "build-output":
		t.result(name{e.ImportPath, ""}).output.WriteString(e.Output)
	case "output":
		t.result(name{e.Package, e.Test}).output.WriteString(e.Output)
	case "run", "pass", "fail", "skip":
		r := t.result(name{e.Package, e.Test})
		r.action = e.Action
		if e.FailedBuild != "" {
			r.output.WriteString(t.result(name{e.FailedBuild, ""}).output.String())
		}
	}
}

// count decides what each result counts for.
func (t *tests) count() {
	for _, n := range t.order {
		r := t.results[n]
		if n.test != "" && r.action == "run" {
			r.action = "fail" // it never ended
		}
		for up, more := n.above(); more; up, more = up.above() {
			if above := t.results[up]; above != nil {
				above.parent = above.parent || up.test != ""
				above.failing = above.failing || r.action == "fail"
			}
		}
	}
	for _, n := range t.order {
		switch r := t.results[n]; {
		case r.action == "fail" && !r.failing:
			t.failed++
		case r.parent || n.test == "":
		case r.action == "pass":
			t.passed++
		case r.action == "skip":
			t.skipped++
		}
	}
}

// above returns the test that n is a subtest of, or its package.
func (n name) above() (name, bool) {
	if n.test == "" {
		return name{}, false
	}
	i := max(strings.LastIndexByte(n.test, '/'), 0)
	return name{n.pkg, n.test[:i]}, true
}

// print writes the output of what failed, and each skip with its reason.
func (t *tests) print(out io.Writer) {
	fmt.Fprintf(out, "%s", t.stray)
	for _, n := range t.order {
		r := t.results[n]
		text := strings.TrimRight(r.output.String(), "\n")
		switch {
		case r.action == "fail" && !r.failing:
			fmt.Fprintf(out, "FAIL %s %s\n%s\n", n.pkg, n.test, text)
		case r.action == "skip" && n.test != "" && !r.parent:
			fmt.Fprintf(out, "SKIP %s %s: %s\n", n.pkg, n.test, reason(text))
		}
	}
}

// reason picks the words of a skip out of its output.
func reason(output string) string {
	lines := slices.DeleteFunc(strings.Split(output, "\n"), func(l string) bool {
		l = strings.TrimSpace(l)
		return l == "" || strings.HasPrefix(l, "===") || strings.HasPrefix(l, "---")
	})
	return strings.TrimSpace(strings.Join(lines, " "))
}
