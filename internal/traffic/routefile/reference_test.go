package routefile_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
)

const page = "../../../docs/reference/mesh-yaml.md"

// The reference has every key that is read, and none besides.
func TestTheReferenceHasEveryKey(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		told = append(told, m[1])
	}
	known := keysBelow(t, "", "%s")
	slices.Sort(told)
	slices.Sort(known)
	if len(known) < 40 {
		t.Fatalf("%d keys were found: %v", len(known), known)
	}
	if diff := cmp.Diff(known, told); diff != "" {
		t.Errorf("keys (-read +told):\n%s", diff)
	}
}

var knownHere = regexp.MustCompile(`unknown key; known here: (.*)$`)

// keysBelow asks the parser itself: for a key that it cannot know it tells those that it knows. document
// has %s where the value of path stands.
func keysBelow(t *testing.T, path, document string) []string {
	t.Helper()
	place := func(value string) string { return strings.Replace(document, "%s", value, 1) }
	const odd = "zzzzzzzzzzzz"
	switch path {
	case "services":
		return keysBelow(t, "services.NAME", place("{NAME: %s}"))
	case "listeners":
		return keysBelow(t, "listeners.NAME", place("{name: %s}"))
	case "listeners.NAME.certificates":
		return keysBelow(t, "listeners.NAME.certificates[]", place("[%s]"))
	case "routes":
		return keysBelow(t, "routes[]", place("[%s]"))
	}
	_, problems := routefile.Parse("f", []byte(place("{"+odd+": 1}")))
	for _, p := range problems {
		m := knownHere.FindStringSubmatch(p.Reason)
		if m == nil || !strings.HasSuffix(p.Path, odd) {
			continue
		}
		var out []string
		for key := range strings.SplitSeq(m[1], ", ") {
			out = append(out, keysBelow(t, strings.TrimPrefix(path+"."+key, "."), place("{"+key+": %s}"))...)
		}
		return out
	}
	return []string{path}
}

// The example of the reference is one that is taken.
func TestTheExampleOfTheReferenceIsRight(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	example, _, ok := strings.Cut(rest, "```")
	f, problems := routefile.Parse("mesh.yaml", []byte(example))
	if !ok || len(problems) > 0 || len(f.Set.Routes) != 2 {
		t.Errorf("example %q: %v", example, problems)
	}
}
