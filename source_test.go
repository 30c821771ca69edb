// Package toska_mesh_test holds the house to its plan: who may import whom, and what every package
// says of itself. It reads the source by itself, so that no cached answer of the go command can hide
// a change.
package toska_mesh_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/toska-mesh/toska-mesh"

// source is one parsed Go file.
type source struct {
	path      string // slash-separated, from the root of the tree
	dir       string // the package's directory; "." is the root
	test      bool   // its name ends in _test.go
	generated bool
	lines     int
	ast       *ast.File
	fset      *token.FileSet
}

// line returns the line of a position.
func (s *source) line(p token.Pos) int { return s.fset.Position(p).Line }

// imports yields each import's path and position.
func (s *source) imports(yield func(string, token.Pos) bool) {
	for _, spec := range s.ast.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err == nil && !yield(p, spec.Pos()) {
			return
		}
	}
}

// readTree parses every Go file of the tree but those in testdata, in hidden directories and, unless
// nested is set, in other modules below the root.
func readTree(tree fs.FS, nested bool) ([]*source, error) {
	var out []*source
	fset := token.NewFileSet()
	err := fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if p != "." && (skipped(d.Name()) || !nested && isModule(tree, p)) {
				return fs.SkipDir
			}
			return nil
		case path.Ext(p) != ".go":
			return nil
		}
		text, err := fs.ReadFile(tree, p)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("parse %s: %w", p, err)
		}
		out = append(out, &source{
			path: p, dir: path.Dir(p), test: strings.HasSuffix(p, "_test.go"),
			generated: ast.IsGenerated(f), lines: strings.Count(string(text), "\n"), ast: f, fset: fset,
		})
		return nil
	})
	return out, err
}

func skipped(dir string) bool {
	return dir == "testdata" || dir == "node_modules" || strings.HasPrefix(dir, ".") || strings.HasPrefix(dir, "_")
}

func isModule(tree fs.FS, dir string) bool {
	_, err := fs.Stat(tree, path.Join(dir, "go.mod"))
	return err == nil
}

// matches reports whether a path fits one of the patterns: a name fits itself, "name/..." also
// everything below it, and "..." everything.
func matches(p string, patterns ...string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		base, below := strings.CutSuffix(pattern, "/...")
		return pattern == "..." || p == base || below && strings.HasPrefix(p, base+"/")
	})
}
