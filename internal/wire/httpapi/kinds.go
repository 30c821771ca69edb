package httpapi

import (
	"context"
	"errors"
	"net/http"

	"connectrpc.com/connect"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// kinds is the one table that maps what callers branch on to what the protocols say.
var kinds = [...]struct {
	kind   error
	word   string
	status int
	rpc    connect.Code
}{
	{mesh.ErrInvalid, "invalid", http.StatusUnprocessableEntity, connect.CodeInvalidArgument},
	{mesh.ErrTooLarge, "too-large", http.StatusRequestEntityTooLarge, connect.CodeResourceExhausted},
	{mesh.ErrNotFound, "not-found", http.StatusNotFound, connect.CodeNotFound},
	{mesh.ErrStale, "stale", http.StatusConflict, connect.CodeFailedPrecondition},
	{mesh.ErrConflict, "conflict", http.StatusConflict, connect.CodeAborted},
	{mesh.ErrUnauthenticated, "unauthenticated", http.StatusUnauthorized, connect.CodeUnauthenticated},
	{mesh.ErrForbidden, "forbidden", http.StatusForbidden, connect.CodePermissionDenied},
	{mesh.ErrUnavailable, "unavailable", http.StatusServiceUnavailable, connect.CodeUnavailable},
	{context.DeadlineExceeded, "unavailable", http.StatusServiceUnavailable, connect.CodeUnavailable},
	{errInternal, wordInternal, http.StatusInternalServerError, connect.CodeInternal},
}

// wordInternal is the word of errInternal.
const wordInternal = "internal"

// errInternal stands for every error that has no kind.
var errInternal = errors.New("internal")

// described is an error as it may be shown to a remote caller.
type described struct {
	word   string
	status int
	rpc    connect.Code
	code   string
	detail string
	fields []mesh.FieldError
}

// describe tells what a remote caller may know of err: all of a mesh.Error but its cause, and nothing
// of an error without a kind.
func describe(err error) described {
	k := kinds[len(kinds)-1]
	for _, c := range kinds {
		if errors.Is(err, c.kind) {
			k = c
			break
		}
	}
	d := described{word: k.word, status: k.status, rpc: k.rpc, code: mesh.CodeOf(err), detail: k.word}
	if errors.Is(err, context.DeadlineExceeded) && d.code == mesh.CodeInternal {
		d.code = mesh.CodeUnavailable
	}
	var e *mesh.Error
	switch {
	case errors.As(err, &e):
		d.fields = e.Fields
		if e.Detail != "" {
			d.detail = e.Detail
		}
	case k.word == wordInternal:
		d.detail = "the node met an error of its own; its log has the rest under the request id"
	default:
		d.detail = err.Error()
	}
	return d
}

// kindOf returns the kind that a word or, without a known word, an RPC's code stands for; nil for none.
func kindOf(word string, code connect.Code) error {
	for _, k := range kinds {
		if k.word == word && word != wordInternal {
			return k.kind
		}
	}
	// Codes of other servers, which ours does not use.
	switch code {
	case connect.CodeAlreadyExists:
		return mesh.ErrConflict
	case connect.CodeOutOfRange:
		return mesh.ErrInvalid
	case connect.CodeDeadlineExceeded:
		return mesh.ErrUnavailable
	default:
	}
	for _, k := range kinds {
		if k.rpc == code && k.word != wordInternal {
			return k.kind
		}
	}
	return nil
}

// Internal reports whether err has no kind that a caller could act on: the node's own failure, to be
// logged where it is answered.
func Internal(err error) bool {
	return describe(err).word == wordInternal && !errors.Is(err, context.Canceled)
}
