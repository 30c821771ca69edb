package cli

import "io"

// BuildFrom is for the tests of what a binary says of itself.
var BuildFrom = buildFrom

// Build is what BuildFrom returns.
type Build = build

// NewRequestLines is for the tests of how the access log reads on a terminal.
func NewRequestLines(w io.Writer, colours bool) io.Writer {
	return &requestLines{w: w, colours: colours}
}
