package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// The exit codes. They are stable: scripts rely on them.
const (
	codeOK           = 0
	codeFailure      = 1
	codeUsage        = 2
	codeNoNode       = 3
	codeUnreachable  = 4
	codeRefused      = 5
	codeNotFound     = 6
	codeStartTimeout = 7
	codeConflict     = 8
	codeUnwell       = 9
	codeConfig       = 10
)

// ExitCode is one row of the reference of exit codes.
type ExitCode struct {
	Code    string
	Meaning string
}

// ExitCodes returns the table that docs/reference/exit-codes.md shows.
func ExitCodes() []ExitCode {
	row := func(code int, meaning string) ExitCode { return ExitCode{fmt.Sprint(code), meaning} }
	return []ExitCode{
		row(codeOK, "The command did what it was asked to."),
		row(codeFailure, "It failed for a reason that has no code of its own; the message tells."),
		row(codeUsage, "The command line, or a value in it, is wrong."),
		row(codeNoNode, "No node was found, or several and none was chosen; `--control HOST:PORT` names one."),
		row(codeUnreachable, "The node does not answer, or cannot do this now; the same command may succeed later."),
		row(codeRefused, "The node refused the caller: the token is missing, wrong, or not enough."),
		row(codeNotFound, "What was named is not there."),
		row(codeStartTimeout, "`toska run`: the program did not answer on its port within `--start-timeout`."),
		row(codeConflict, "Something else has it: a port, the data directory, or an instance's id."),
		row(codeUnwell, "`toska doctor` found something that does not work; its lines tell what."),
		row(codeConfig, "The configuration file has mistakes, or is none: `toska config check` tells each, and `toska up` does not start with it."),
		{"126", "`toska run`: the program was found and could not be started."},
		{"127", "`toska run`: the program was not found."},
		{"128+n", "A second signal n ended `toska up` at once, or signal n ended the program of `toska run`."},
		{"other", "`toska run`: the program's own exit status."},
	}
}

// kinds is the one place where errors become exit codes and advice.
var kinds = []struct {
	kind error
	code int
	next string
}{
	{mesh.ErrUnauthenticated, codeRefused, "give the node's token with --token-file FILE or TOSKA_TOKEN; " +
		"it is in DATA-DIRECTORY/secrets/admin.token"},
	{mesh.ErrForbidden, codeRefused, "give the admin token with --token-file FILE or TOSKA_TOKEN; " +
		"it is in DATA-DIRECTORY/secrets/admin.token"},
	{mesh.ErrNotFound, codeNotFound, `see what is there with "toska services"`},
	{mesh.ErrStale, codeConflict, "give each copy an --id of its own, or none"},
	{mesh.ErrConflict, codeConflict, ""},
	{mesh.ErrTooLarge, codeUsage, ""},
	{mesh.ErrInvalid, codeUsage, ""},
	{mesh.ErrUnavailable, codeUnreachable, `see whether the node runs with "toska status", start one with "toska up", ` +
		"or name another with --control HOST:PORT"},
	{context.DeadlineExceeded, codeUnreachable, ""},
}

// failure is an error as it is shown: what was tried and what happened, then what to do next.
type failure struct {
	code int
	err  error
	next string
}

// Error returns what was tried and what happened.
func (f *failure) Error() string { return f.err.Error() }

// Unwrap returns what lies beneath.
func (f *failure) Unwrap() error { return f.err }

func (f *failure) print(w io.Writer) {
	say(w, "toska: %v", f.err)
	code := codeIn(f.err)
	switch {
	case f.next != "":
		say(w, "to do: %s", f.next)
	case code != "":
		say(w, "to do: read what \"%s help %s\" says of it", commandName(), code)
	}
	if code != "" {
		say(w, "code: %s", code)
	}
}

// codeIn returns the stable code that err carries; empty for none.
func codeIn(err error) string {
	if e, ok := errors.AsType[*mesh.Error](err); ok {
		return e.Code
	}
	return ""
}

// fail returns a failure with a code and advice of its own.
func fail(code int, next, format string, args ...any) error {
	return &failure{code: code, err: fmt.Errorf(format, args...), next: next}
}

// local marks an error whose text tells what to do by itself.
func local(err error) error {
	if err == nil {
		return nil
	}
	f := explain(err)
	f.next = ""
	return f
}

// explain finds the exit code and the advice for err.
func explain(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	for _, k := range kinds {
		if errors.Is(err, k.kind) {
			return &failure{code: k.code, err: err, next: k.next}
		}
	}
	return &failure{code: codeFailure, err: err}
}
