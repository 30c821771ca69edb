package cli

// BuildFrom is for the tests of what a binary says of itself.
var BuildFrom = buildFrom

// Build is what BuildFrom returns.
type Build = build
