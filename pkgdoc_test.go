package toska_mesh_test

import (
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// documented returns what is wrong with the package comments of a tree, a sentence per package. Every
// package has one; the comment of a directory that holds nothing but tests stands in one of them.
func documented(tree fs.FS) ([]string, error) {
	sources, err := readTree(tree, true)
	if err != nil {
		return nil, err
	}
	var dirs []string
	packages := map[string][]*source{}
	hasCode := map[string]bool{}
	for _, s := range sources {
		if packages[s.dir] == nil {
			dirs = append(dirs, s.dir)
		}
		packages[s.dir] = append(packages[s.dir], s)
		hasCode[s.dir] = hasCode[s.dir] || !s.test
	}
	var wrong []string
	for _, dir := range dirs {
		var at []string
		for _, s := range packages[dir] {
			if s.ast.Doc == nil {
				continue
			}
			if s.test && hasCode[dir] {
				wrong = append(wrong, s.path+": the package comment belongs outside of the tests")
				continue
			}
			at = append(at, s.path)
			if opening := opening(s); !strings.HasPrefix(s.ast.Doc.Text(), opening+" ") {
				wrong = append(wrong, s.path+": the package comment does not open with "+opening)
			}
		}
		switch {
		case len(at) == 0:
			wrong = append(wrong, dir+": no package comment")
		case len(at) > 1:
			wrong = append(wrong, dir+": more than one package comment: "+strings.Join(at, ", "))
		}
	}
	return wrong, nil
}

// opening is how the comment of a package starts.
func opening(s *source) string {
	if s.ast.Name.Name == "main" {
		return "Command " + path.Base(s.dir)
	}
	return "Package " + s.ast.Name.Name
}

func TestEveryPackageHasOneComment(t *testing.T) {
	wrong, err := documented(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range wrong {
		t.Error(w)
	}
}

func TestAMissingSecondOrMisnamedPackageCommentIsCaught(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	got, err := documented(fstest.MapFS{
		"good/good.go":        file("// Package good is good.\npackage good\n"),
		"good/good_test.go":   file("package good_test\n"),
		"cmd/toska/main.go":   file("// Command toska is the mesh.\npackage main\n"),
		"none/none.go":        file("package none\n"),
		"twice/a.go":          file("// Package twice is told.\npackage twice\n"),
		"twice/b.go":          file("// Package twice is told again.\npackage twice\n"),
		"misnamed/a.go":       file("// Here is misnamed.\npackage misnamed\n"),
		"cmd/tool/main.go":    file("// Package main is a command.\npackage main\n"),
		"intest/a.go":         file("// Package intest is good.\npackage intest\n"),
		"intest/a_test.go":    file("// Package intest is tested.\npackage intest\n"),
		"story/a_test.go":     file("// Package story_test tells stories.\npackage story_test\n"),
		"silent/a_test.go":    file("package silent_test\n"),
		"other/go.mod":        file("module other\n"),
		"other/a.go":          file("package other\n"),
		"testdata/ignored.go": file("package ignored\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"cmd/tool/main.go: the package comment does not open with Command tool",
		"intest/a_test.go: the package comment belongs outside of the tests",
		"misnamed/a.go: the package comment does not open with Package misnamed",
		"none: no package comment",
		"other: no package comment",
		"silent: no package comment",
		"twice: more than one package comment: twice/a.go, twice/b.go",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("documented (-want +got):\n%s", diff)
	}
}
