package httpapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// API is a listener's REST surface with its description: OpenAPI 3.1 at /openapi.json and
// /openapi.yaml, and a reader of it at /docs. Wire packages add their operations with Handle while the
// listener is put together.
type API struct {
	huma huma.API
	log  *slog.Logger
}

// NewAPI returns an API on mux that has no operation yet. version is the node's.
func NewAPI(mux *http.ServeMux, version string, log *slog.Logger) *API {
	schemas := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	api := &API{log: log, huma: humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{Title: "Toska Mesh", Version: version,
				Description: "What a node offers on its control port. Errors are RFC 9457 problem documents with a stable code."},
			Components: &huma.Components{Schemas: schemas, SecuritySchemes: map[string]*huma.SecurityScheme{
				"token": {Type: "http", Scheme: "bearer",
					Description: "The service or the admin token. Reading needs none while the listener is loopback."},
			}},
			Security: []map[string][]string{{"token": {}}, {}},
		},
		// The second stands for every media type that ends in +json.
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{problemsOnly},
	})}
	api.mountDescription(mux)
	mountReader(mux)
	return api
}

// Handle adds an operation. Reading ones (GET) take every caller that MayRead, others every one that
// MayWrite. Errors of fn are answered as problem documents; those without a kind are logged.
func Handle[I, O any](api *API, op huma.Operation, fn func(context.Context, *I) (*O, error)) {
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = &huma.Response{
		Description: "A problem document.",
		Content: map[string]*huma.MediaType{ProblemType: {
			Schema: Schema(api, reflect.TypeFor[Problem]()),
		}},
	}
	may := MayWrite
	if op.Method == http.MethodGet {
		may = MayRead
	} else {
		op.Security = []map[string][]string{{"token": {}}}
	}
	op.RejectUnknownQueryParameters = true
	op.Middlewares = append(op.Middlewares, func(c huma.Context, next func(huma.Context)) {
		if err := may(c.Context()); err != nil {
			r, w := humago.Unwrap(c)
			WriteProblem(w, r, err)
			return
		}
		next(c)
	})
	huma.Register(api.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := fn(ctx, in)
		if err != nil {
			if Internal(err) {
				api.log.With(correlated(ctx)...).ErrorContext(ctx, "operation failed", "operation", op.OperationID, "error", err)
			}
			return nil, NewProblem(ctx, err)
		}
		return out, nil
	})
}

// problemsOnly turns the library's own errors into problem documents with a code.
func problemsOnly(c huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	code := mesh.CodeInvalid
	switch {
	case m.Status == http.StatusRequestEntityTooLarge:
		code = mesh.CodeTooLarge
	case m.Status >= http.StatusInternalServerError:
		code = mesh.CodeInternal
	}
	var fields []mesh.FieldError
	for _, d := range m.Errors {
		// Nothing can be said of the fields of a body that could not be read.
		if m.Status == http.StatusBadRequest && d.Location != "body" {
			continue
		}
		f := fieldError(d)
		if !slices.ContainsFunc(fields, func(o mesh.FieldError) bool { return o.Field == f.Field }) {
			fields = append(fields, f)
		}
	}
	slices.SortFunc(fields, func(a, b mesh.FieldError) int { return strings.Compare(a.Field, b.Field) })
	detail := m.Detail
	if len(fields) > 0 {
		detail = "the request has fields that are wrong; each is named in errors"
	}
	return newProblem(c.Context(), m.Status, code, detail, fields), nil
}

// fieldError names the field as the client wrote it: the library counts from where in the request it
// was, and gives a missing field the place of what misses it.
func fieldError(d *huma.ErrorDetail) mesh.FieldError {
	_, field, _ := strings.Cut(d.Location, ".")
	f := mesh.FieldError{Field: field, Problem: d.Message}
	if rest, ok := strings.CutPrefix(d.Message, "expected required property "); ok {
		name, _, _ := strings.Cut(rest, " ")
		f.Field, f.Problem = strings.TrimPrefix(field+"."+name, "."), "is required"
	}
	if d.Message == "unexpected property" || d.Message == "unknown query parameter" {
		f.Problem = "there is no such field"
	}
	if f.Field == "" {
		f.Field = d.Location
	}
	return f
}

// mountDescription adds the OpenAPI document, written out once, when it is first asked for: by then
// all operations are there.
func (api *API) mountDescription(mux *http.ServeMux) {
	asJSON := sync.OnceValues(func() ([]byte, error) {
		// The library describes its own error type beside the one that is answered.
		schemas := api.huma.OpenAPI().Components.Schemas.Map()
		delete(schemas, "ErrorModel")
		delete(schemas, "ErrorDetail")
		return json.Marshal(api.huma.OpenAPI())
	})
	asYAML := sync.OnceValues(func() ([]byte, error) {
		if _, err := asJSON(); err != nil {
			return nil, err
		}
		return api.huma.OpenAPI().YAML()
	})
	serve := func(path, mediaType string, document func() ([]byte, error)) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			if err := MayRead(r.Context()); err != nil {
				WriteProblem(w, r, err)
				return
			}
			b, err := document()
			if err != nil {
				api.log.With(correlated(r.Context())...).ErrorContext(r.Context(), "api description failed", "error", err)
				WriteProblem(w, r, err)
				return
			}
			w.Header().Set("Content-Type", mediaType)
			// The client is gone if this fails.
			_, _ = w.Write(b)
		})
	}
	serve("/openapi.json", "application/openapi+json", asJSON)
	serve("/openapi.yaml", "application/openapi+yaml", asYAML)
}

// Schema returns the reference to the schema of a type in the API's description, for operations that
// write their answers themselves.
func Schema(api *API, t reflect.Type) *huma.Schema {
	return api.huma.OpenAPI().Components.Schemas.Schema(t, true, t.Name())
}
