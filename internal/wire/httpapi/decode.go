package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// MaxBody is how many bytes of a request's JSON are read.
const MaxBody = 1 << 20

// Decode reads the request's body as one JSON value into v. Fields that v does not have are refused by
// name (mesh.ErrInvalid), and more than MaxBody bytes are mesh.ErrTooLarge.
func Decode(w http.ResponseWriter, r *http.Request, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, MaxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return decodeError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid,
			Detail: "the body goes on after its JSON value"}
	}
	return nil
}

func decodeError(err error) error {
	var tooLarge *http.MaxBytesError
	var wrongType *json.UnmarshalTypeError
	e := &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid, Cause: err}
	switch {
	case errors.As(err, &tooLarge):
		e.Kind, e.Code = mesh.ErrTooLarge, mesh.CodeTooLarge
		e.Detail = fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)
	case errors.As(err, &wrongType):
		e.Detail = "the body does not fit"
		e.Fields = []mesh.FieldError{{Field: wrongType.Field,
			Problem: fmt.Sprintf("a %s cannot be a %s", wrongType.Value, wrongType.Type)}}
	default:
		e.Detail = "the body is not the JSON that is expected: " + strings.TrimPrefix(err.Error(), "json: ")
		// The decoder has no type for this error.
		if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			e.Detail = "the body does not fit"
			e.Fields = []mesh.FieldError{{Field: strings.Trim(name, `"`), Problem: "there is no such field"}}
		}
	}
	return e
}
