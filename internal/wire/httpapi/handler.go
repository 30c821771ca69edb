package httpapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"runtime/debug"

	"connectrpc.com/connect"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// Handler is what a listener serves: the mux behind Guard, with a request id for each request, problem
// documents for paths and methods that the mux does not have, and panics contained to their request.
func Handler(mux *http.ServeMux, l Listener, v Verifier, log *slog.Logger) http.Handler {
	return withRequestID(contain(log, Guard(l, v)(route(mux))))
}

// route serves what the mux has and answers for the rest. Paths are taken as they are, but for the case
// of the family's: one that the mux would clean up or complete with a redirect is not there.
func route(mux *http.ServeMux) http.Handler {
	redirect := reflect.TypeOf(http.RedirectHandler("", http.StatusTemporaryRedirect))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern, r := lookup(mux, r)
		if pattern == "" || reflect.TypeOf(h) == redirect {
			refuse(h, w, r)
			return
		}
		// Only the mux itself fills the request's path values in.
		mux.ServeHTTP(w, r)
	})
}

// refuse answers a request that no pattern takes; h is what the mux would have answered.
func refuse(h http.Handler, w http.ResponseWriter, r *http.Request) {
	var probe probeWriter
	h.ServeHTTP(&probe, r)
	rpc := connect.NewErrorWriter(connect.WithRequireConnectProtocolHeader())
	switch {
	case rpc.IsSupported(r):
		// The client is gone if this fails.
		_ = rpc.Write(w, r, connect.NewError(connect.CodeUnimplemented,
			fmt.Errorf("there is no procedure %s here", r.URL.Path)))
	case probe.status == http.StatusMethodNotAllowed:
		w.Header().Set("Allow", probe.Header().Get("Allow"))
		writeProblem(w, newProblem(r.Context(), http.StatusMethodNotAllowed, CodeMethod,
			"this path takes "+probe.Header().Get("Allow")+", not "+r.Method, nil))
	default:
		detail := "there is nothing at " + r.URL.Path
		if ListenerFromContext(r.Context()).Name == ListenerControl {
			detail += "; /docs lists what there is"
		}
		WriteProblem(w, r, &mesh.Error{Kind: mesh.ErrNotFound, Code: mesh.CodeNotFound, Detail: detail})
	}
}

// CodeMethod is the code of a method that a path does not take.
const CodeMethod = "TOSKA-METHOD"

// probeWriter learns the status and fields that a handler would answer with.
type probeWriter struct {
	header http.Header
	status int
}

func (p *probeWriter) Header() http.Header {
	if p.header == nil {
		p.header = http.Header{}
	}
	return p.header
}

func (p *probeWriter) WriteHeader(status int) {
	if p.status == 0 {
		p.status = status
	}
}

func (p *probeWriter) Write(b []byte) (int, error) { return len(b), nil }

// contain ends a panic with its request. The connection of one that had begun to answer is cut, so
// that nobody takes half an answer for a whole one.
func contain(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := &begunWriter{ResponseWriter: w}
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(v)
			}
			log.With(correlated(r.Context())...).ErrorContext(r.Context(), "request handler panicked", "path", r.URL.Path,
				"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			if begun.yes {
				panic(http.ErrAbortHandler)
			}
			WriteProblem(w, r, errInternal)
		}()
		next.ServeHTTP(begun, r)
	})
}

// begunWriter remembers whether an answer has begun.
type begunWriter struct {
	http.ResponseWriter
	yes bool
}

func (b *begunWriter) WriteHeader(status int) {
	b.yes = true
	b.ResponseWriter.WriteHeader(status)
}

func (b *begunWriter) Write(p []byte) (int, error) {
	b.yes = true
	return b.ResponseWriter.Write(p)
}

// Flush is needed by streams that look for it by type.
func (b *begunWriter) Flush() {
	b.yes = true
	if f, ok := b.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap lets http.ResponseController reach the writer beneath.
func (b *begunWriter) Unwrap() http.ResponseWriter { return b.ResponseWriter }
