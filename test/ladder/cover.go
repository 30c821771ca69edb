package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

const internal = "github.com/toska-mesh/toska-mesh/internal/"

// block is one block of statements, as a profile names it: "file:from,to".
type block struct {
	statements int
	covered    bool
}

// coverage is the union of profiles: a block is covered if it is in any of them.
type coverage map[string]block

// read adds a profile. What it says of code outside internal/, of generated code and of the
// conformance suites, which are tests themselves, does not count.
func (c coverage) read(profile string) error {
	text, err := os.ReadFile(profile)
	if err != nil {
		return err
	}
	counts := map[string]bool{}
	for i, line := range bytes.Split(text, []byte("\n")) {
		fields := strings.Fields(string(line))
		if len(fields) != 3 {
			continue // the mode, or the end
		}
		file, _, _ := strings.Cut(fields[0], ":")
		if _, known := counts[file]; !known {
			counts[file] = counted(file)
		}
		if !counts[file] {
			continue
		}
		statements, err1 := strconv.Atoi(fields[1])
		hits, err2 := strconv.ParseUint(fields[2], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("%s:%d: %w", profile, i+1, err)
		}
		c[fields[0]] = block{statements, c[fields[0]].covered || hits > 0}
	}
	return nil
}

func counted(file string) bool {
	inner, ok := strings.CutPrefix(file, internal)
	if !ok || strings.HasSuffix(path.Dir(inner), "test") {
		return false
	}
	text, err := os.ReadFile(path.Join("internal", inner))
	return err == nil && !bytes.HasPrefix(text, []byte("// Code generated "))
}

// hold prints the coverage, each package's and the whole, and is an error if the whole is under the
// minimum.
func (c coverage) hold(out io.Writer, minimum float64) error {
	type share struct{ covered, all int }
	packages := map[string]share{}
	var whole share
	for at, b := range c {
		file, _, _ := strings.Cut(at, ":")
		pkg := path.Dir(strings.TrimPrefix(file, path.Dir(path.Clean(internal))+"/"))
		p := packages[pkg]
		p.all += b.statements
		whole.all += b.statements
		if b.covered {
			p.covered += b.statements
			whole.covered += b.statements
		}
		packages[pkg] = p
	}
	if whole.all == 0 {
		return errors.New("the profiles tell of no code in internal/")
	}
	percent := func(s share) float64 { return 100 * float64(s.covered) / float64(s.all) }
	for _, pkg := range slices.Sorted(maps.Keys(packages)) {
		fmt.Fprintf(out, "%6.1f %%  %s\n", percent(packages[pkg]), pkg)
	}
	fmt.Fprintf(out, "%6.1f %%  of %d statements are covered, at least %.0f %% must be\n", percent(whole), whole.all, minimum)
	if percent(whole) < minimum {
		return fmt.Errorf("coverage of internal/ is %.1f %%, under %.0f %%", percent(whole), minimum)
	}
	return nil
}
