package nearest_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/toska-mesh/toska-mesh/internal/util/nearest"
)

func TestWord(t *testing.T) {
	words := []string{"listeners", "limits", "routes", "retry", "to", "host", "path", "GET", "POST"}
	for _, tc := range []struct{ name, given, want string }{
		{"the word itself", "routes", "routes"},
		{"a letter too few", "lisener", "listeners"},
		{"a letter too many", "routess", "routes"},
		{"a wrong letter", "rautes", "routes"},
		{"neighbours that changed places", "ruotes", "routes"},
		{"neighbours of a short word", "psot", "POST"},
		{"another case", "Routes", "routes"},
		{"a short word allows one change", "t", "to"},
		{"a short word does not allow two", "xy", ""},
		{"nothing is near", "certificates", ""},
		{"nothing is given", "", ""},
		{"much is given", strings.Repeat("routes", 1000), ""},
		{"the first of two that are as near", "ost", "host"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := nearest.Word(tc.given, words); got != tc.want {
				t.Errorf("Word(%q) = %q, want %q", tc.given, got, tc.want)
			}
		})
	}
}

// One change, wherever it is made, does not keep a word from being found.
func TestOneChangeIsNear(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-z]{3,20}`).Draw(t, "word")
		i := rapid.IntRange(0, len(word)-1).Draw(t, "at")
		changed := rapid.SampledFrom([]string{
			word[:i] + word[i+1:], word[:i] + "_" + word[i+1:], word[:i] + "_" + word[i:],
		}).Draw(t, "changed")
		if got := nearest.Word(changed, []string{word}); got != word {
			t.Errorf("Word(%q, %q) = %q", changed, word, got)
		}
	})
}
