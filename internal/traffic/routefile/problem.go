package routefile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Problem is one mistake in a file.
type Problem struct {
	Origin route.Origin
	// Path is where in the document it is, as in routes[2].match.path; empty where it is no document.
	Path string
	// Reason says what is wrong and what would be right.
	Reason string
	// Nearest is the valid word that was most likely meant; empty where none is near.
	Nearest string
	// Kind and Name are of the object that the mistake takes out of force, as in route.Refusal; empty for
	// a fatal one.
	Kind, Name string
	// Fatal mistakes keep the whole file from being taken.
	Fatal bool
}

// String returns file:line:column: path: reason (did you mean "nearest"?).
func (p Problem) String() string {
	parts := []string{p.Origin.String()}
	if p.Path != "" {
		parts = append(parts, p.Path)
	}
	return strings.Join(append(parts, p.text()), ": ")
}

// text returns the reason with the nearest word.
func (p Problem) text() string {
	if p.Nearest == "" {
		return p.Reason
	}
	return fmt.Sprintf("%s (did you mean %q?)", p.Reason, p.Nearest)
}

// Problems are the mistakes in a file, in its order.
type Problems []Problem

// Fatal reports whether one of them keeps the whole file from being taken.
func (ps Problems) Fatal() bool {
	return slices.ContainsFunc(ps, func(p Problem) bool { return p.Fatal })
}

// Err returns nil without a fatal problem, otherwise an error of kind mesh.ErrInvalid that shows the
// first ones.
func (ps Problems) Err() error {
	const shown = 10
	var said []string
	n := 0
	for _, p := range ps {
		if !p.Fatal {
			continue
		}
		if n++; n <= shown {
			said = append(said, p.String())
		}
	}
	if n == 0 {
		return nil
	}
	if n > shown {
		said = append(said, fmt.Sprintf("and %d more; toska config check shows all", n-shown))
	}
	return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid,
		Detail: "the configuration file is wrong and was not taken:\n  " + strings.Join(said, "\n  ")}
}

func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Origin.Line, b.Origin.Line), cmp.Compare(a.Origin.Column, b.Origin.Column))
	})
}

// most is how many mistakes are told of one object, and of what is outside of objects: a file that is no
// configuration at all has no end of them.
const most = 100

// add appends a problem unless there are too many already.
func (ps *Problems) add(p Problem) {
	switch {
	case len(*ps) < most:
		*ps = append(*ps, p)
	case len(*ps) == most:
		*ps = append(*ps, Problem{Origin: p.Origin, Path: "", Reason: "there are more mistakes than are shown", Fatal: p.Fatal})
	}
}
