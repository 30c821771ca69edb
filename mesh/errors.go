package mesh

import (
	"errors"
	"strings"
)

// The kinds of errors that callers branch on, by errors.Is.
var (
	// ErrInvalid is input that can never succeed as it is.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound is a thing that is not there.
	ErrNotFound = errors.New("not found")
	// ErrConflict is a change that lost against another one.
	ErrConflict = errors.New("conflict")
	// ErrStale is a word from an older incarnation.
	ErrStale = errors.New("stale incarnation")
	// ErrUnauthenticated is a caller without a token where one is needed.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrForbidden is a caller that may not do this.
	ErrForbidden = errors.New("forbidden")
	// ErrUnavailable is a part that cannot answer now; the same call may succeed later.
	ErrUnavailable = errors.New("unavailable")
	// ErrTooLarge is input over a limit.
	ErrTooLarge = errors.New("too large")
)

// Codes of errors that are not specific to one part. Every code is stable.
const (
	CodeInvalid         = "TOSKA-INPUT-INVALID"
	CodeTooLarge        = "TOSKA-INPUT-TOO-LARGE"
	CodeNotFound        = "TOSKA-NOT-FOUND"
	CodeConflict        = "TOSKA-CONFLICT"
	CodeStale           = "TOSKA-INSTANCE-STALE"
	CodeInstanceNone    = "TOSKA-INSTANCE-NONE"
	CodeUnauthenticated = "TOSKA-AUTH-REQUIRED"
	CodeForbidden       = "TOSKA-AUTH-FORBIDDEN"
	CodeOrigin          = "TOSKA-AUTH-ORIGIN"
	CodeUnavailable     = "TOSKA-UNAVAILABLE"
	CodeStoreFailed     = "TOSKA-STORE-FAILED"
	CodeStoreFull       = "TOSKA-STORE-FULL"
	CodeStoreNoQuorum   = "TOSKA-STORE-NO-QUORUM"
	CodeStoreDamaged    = "TOSKA-STORE-DAMAGED"
	CodeInternal        = "TOSKA-INTERNAL"
)

// Error is an error with a kind for callers, a stable code for machines and operators, and words for
// people.
type Error struct {
	// Kind is one of the Err values of this package.
	Kind error
	// Code is stable, TOSKA-AREA-WHAT.
	Code string
	// Detail says what was tried, what happened and what to do.
	Detail string
	// Fields names each wrong field of the input, where the input has fields.
	Fields []FieldError
	// Cause is what lies beneath; it may be nil and is never shown to remote callers.
	Cause error
}

// FieldError is one wrong field of an input.
type FieldError struct {
	// Field is the path of the field, as in "metadata.weight".
	Field string
	// Problem says what is wrong with it and what would be right.
	Problem string
}

// Error returns the detail, then each wrong field.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Detail)
	if e.Detail == "" && e.Kind != nil {
		b.WriteString(e.Kind.Error())
	}
	for i, f := range e.Fields {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		b.WriteString(f.Field + ": " + f.Problem)
	}
	return b.String()
}

// Unwrap lets errors.Is find the kind and the cause.
func (e *Error) Unwrap() []error {
	out := make([]error, 0, 2)
	if e.Kind != nil {
		out = append(out, e.Kind)
	}
	if e.Cause != nil {
		out = append(out, e.Cause)
	}
	return out
}

// CodeOf returns the code that err carries, or the general code of its kind, or CodeInternal.
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Code != "" {
		return e.Code
	}
	for _, k := range kindCodes {
		if errors.Is(err, k.kind) {
			return k.code
		}
	}
	return CodeInternal
}

var kindCodes = [...]struct {
	kind error
	code string
}{
	{ErrInvalid, CodeInvalid},
	{ErrTooLarge, CodeTooLarge},
	{ErrNotFound, CodeNotFound},
	{ErrConflict, CodeConflict},
	{ErrStale, CodeStale},
	{ErrUnauthenticated, CodeUnauthenticated},
	{ErrForbidden, CodeForbidden},
	{ErrUnavailable, CodeUnavailable},
}
