package lifecycle

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// inOrder returns the units sorted so that each comes after all it needs and wants. Among those that
// could come next the one declared first does, so that the order is the same in every run.
func inOrder(units []Unit) ([]Unit, error) {
	known := make(map[string]bool, len(units))
	for _, u := range units {
		switch {
		case u.Name == "":
			return nil, errors.New("a unit has no name")
		case u.Run == nil:
			return nil, fmt.Errorf("unit %s has nothing to run", u.Name)
		case known[u.Name]:
			return nil, fmt.Errorf("unit %s is declared twice", u.Name)
		}
		known[u.Name] = true
	}
	for _, u := range units {
		for _, need := range u.Needs {
			if !known[need] {
				return nil, fmt.Errorf("unit %s needs %s, which is not there", u.Name, need)
			}
		}
	}
	rest := slices.Clone(units)
	placed := make(map[string]bool, len(units))
	order := make([]Unit, 0, len(units))
	for len(rest) > 0 {
		i := slices.IndexFunc(rest, func(u Unit) bool { return firstMissing(u, known, placed) == "" })
		if i < 0 {
			return nil, fmt.Errorf("units depend on each other in a circle: %s", circle(rest, known, placed))
		}
		placed[rest[i].Name] = true
		order = append(order, rest[i])
		rest = slices.Delete(rest, i, i+1)
	}
	return order, nil
}

// firstMissing returns the first name that u needs or wants, is known and not placed, or "".
func firstMissing(u Unit, known, placed map[string]bool) string {
	for _, names := range [][]string{u.Needs, u.Wants} {
		for _, n := range names {
			if known[n] && !placed[n] {
				return n
			}
		}
	}
	return ""
}

// circle walks from one blocked unit to the next until it comes round. Every unit in rest misses
// another one of rest, so it always does.
func circle(rest []Unit, known, placed map[string]bool) string {
	byName := make(map[string]Unit, len(rest))
	for _, u := range rest {
		byName[u.Name] = u
	}
	var walk []string
	for name := rest[0].Name; ; name = firstMissing(byName[name], known, placed) {
		if i := slices.Index(walk, name); i >= 0 {
			return strings.Join(append(walk[i:], name), " → ")
		}
		walk = append(walk, name)
	}
}
