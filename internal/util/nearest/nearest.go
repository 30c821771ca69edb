// Package nearest finds the word that someone most likely meant.
//
// # Concurrency
//
// Word is a pure function.
package nearest

import "strings"

// longest is the length, in characters, above which nothing is compared: no word of ours is that long,
// and the time that a comparison takes grows with the product of both lengths.
const longest = 64

// Word returns the one of words that is nearest to s, or "" if none is near: a third of its characters
// may be wrong, at least one, and two neighbours that changed places count as one. Case does not count.
// Of several that are equally near it returns the first.
func Word(s string, words []string) string {
	given := []rune(strings.ToLower(s))
	if len(given) == 0 || len(given) > longest {
		return ""
	}
	best, least := "", longest
	for _, w := range words {
		word := []rune(strings.ToLower(w))
		most := max(1, len(word)/3)
		if len(word) > longest || len(word)-len(given) > most || len(given)-len(word) > most {
			continue
		}
		if d := distance(given, word); d <= most && d < least {
			best, least = w, d
		}
	}
	return best
}

// distance counts insertions, deletions, substitutions and exchanges of neighbours between a and b: the
// optimal string alignment.
func distance(a, b []rune) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
