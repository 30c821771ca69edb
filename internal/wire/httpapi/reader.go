package httpapi

import (
	"embed"
	"io"
	"net/http"

	"github.com/toska-mesh/toska-mesh/mesh"
)

//go:embed reader
var readerFiles embed.FS

// mountReader adds the reader of the API's description: a page of ours that loads nothing from
// elsewhere.
func mountReader(mux *http.ServeMux) {
	for path, file := range map[string]string{
		"/docs":           "reader/index.html",
		"/docs/reader.js": "reader/reader.js", "/docs/reader.css": "reader/reader.css",
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("Cache-Control", "no-cache")
			http.ServeFileFS(w, r, readerFiles, file)
		})
	}
}

// MountErrorPages adds the page of each code, to which problems on the control listener point. explain
// returns what is to be said of a code, as plain text, and false for a code that there is not.
func MountErrorPages(mux *http.ServeMux, explain func(code string) (string, bool)) {
	mux.HandleFunc("GET /docs/errors/{code}", func(w http.ResponseWriter, r *http.Request) {
		text, ok := explain(r.PathValue("code"))
		if !ok {
			WriteProblem(w, r, &mesh.Error{Kind: mesh.ErrNotFound, Code: mesh.CodeNotFound,
				Detail: "there is no such code"})
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		// The client is gone if this fails.
		_, _ = io.WriteString(w, text)
	})
}
