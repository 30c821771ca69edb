package familyapi

import (
	"net/http"

	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
)

// unreadable is a request that could not be read into the model of its path. It has its own shape, that
// of RFC 7807, and is answered before anything is tried.
type unreadable struct {
	status int
	// errors are the problems by field; empty for what is wrong with the request as a whole.
	errors map[string][]string
}

// Error tells that the request was not read.
func (*unreadable) Error() string { return "the request does not fit the model of its path" }

func (u *unreadable) write(w http.ResponseWriter, r *http.Request) {
	section, title := "6.5.1", "One or more validation errors occurred."
	switch u.status {
	case http.StatusUnsupportedMediaType:
		section, title = "6.5.13", http.StatusText(u.status)
	case http.StatusRequestEntityTooLarge:
		section, title = "6.5.11", http.StatusText(u.status)
	}
	writeJSON(w, u.status, "application/problem+json; charset=utf-8", struct {
		Type    string              `json:"type"`
		Title   string              `json:"title"`
		Status  int                 `json:"status"`
		Errors  map[string][]string `json:"errors,omitempty"`
		TraceID string              `json:"traceId"`
	}{"https://tools.ietf.org/html/rfc7231#section-" + section, title, u.status, u.errors, httpapi.RequestID(r.Context())})
}
