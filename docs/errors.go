// Package docs carries the pages that the binary itself shows: one for each error code.
package docs

import (
	"embed"
	"io/fs"
	"strings"
)

// pages are named CODE.md.
//
//go:embed reference/errors/TOSKA-*.md
var pages embed.FS

const errorPages = "reference/errors"

// ErrorPage returns the page of an error code, as plain text in Markdown: what happened, why, and what to
// do. It is false for a code that there is not; case does not matter.
func ErrorPage(code string) (page string, ok bool) {
	text, err := pages.ReadFile(errorPages + "/" + strings.ToUpper(code) + ".md")
	return string(text), err == nil
}

// ErrorCodes returns every code that has a page, in order.
func ErrorCodes() []string {
	files, err := fs.ReadDir(pages, errorPages)
	if err != nil {
		panic("docs: the embedded pages are there: " + err.Error())
	}
	codes := make([]string, len(files))
	for i, f := range files {
		codes[i] = strings.TrimSuffix(f.Name(), ".md")
	}
	return codes
}

// ErrorSummary returns the first sentence of a code's page; empty for a code that there is not.
func ErrorSummary(code string) string {
	page, _ := ErrorPage(code)
	_, rest, _ := strings.Cut(page, "\n\n")
	summary, _, _ := strings.Cut(rest, "\n\n")
	return strings.ReplaceAll(strings.TrimSpace(summary), "\n", " ")
}
