package familyapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const mediaJSON = "application/json; charset=utf-8"

// envelope is the family's ApiResponse. Every field is always there.
type envelope struct {
	Success bool `json:"success"`
	Data    any  `json:"data"`
	// Message is the errors, joined, where there are some.
	Message   *string   `json:"message"`
	Errors    []string  `json:"errors"`
	Timestamp time.Time `json:"timestamp"`
	// TraceID is the request id of what went wrong, which the log has too.
	TraceID *string `json:"traceId"`
}

func succeeded(a answer) envelope {
	e := envelope{Success: true, Data: a.data, Timestamp: ticks(time.Now())}
	if a.message != "" {
		e.Message = &a.message
	}
	return e
}

// failed is the envelope of an error, and the status to send it with.
func failed(r *http.Request, err error) (int, envelope) {
	p := httpapi.NewProblem(r.Context(), err)
	status := p.Status
	if status == http.StatusUnprocessableEntity {
		status = http.StatusBadRequest
	}
	e := envelope{Timestamp: ticks(time.Now())}
	message := p.Detail
	if known, ok := errors.AsType[*mesh.Error](err); ok && len(known.Fields) > 0 {
		for _, f := range familyFields(known.Fields) {
			e.Errors = append(e.Errors, f.Field+": "+f.Problem)
		}
		message = strings.Join(e.Errors, "; ")
	}
	e.Message = &message
	if p.RequestID != "" {
		e.TraceID = &p.RequestID
	}
	return status, e
}

// writeError answers with the shape that the family's clients know for the error.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	if u, ok := errors.AsType[*unreadable](err); ok {
		u.write(w, r)
		return
	}
	status, e := failed(r, err)
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="toska"`)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, status, mediaJSON, e)
}

func writeJSON(w http.ResponseWriter, status int, mediaType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic("familyapi: an answer always has a JSON form: " + err.Error())
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// The client is gone if this fails.
	_, _ = w.Write(body)
}
