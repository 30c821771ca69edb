package httpapi

import (
	"context"
	"encoding/json"
	"net/http"

	"connectrpc.com/connect"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// ProblemType is the media type of a Problem.
const ProblemType = "application/problem+json"

// Problem is an RFC 9457 problem document.
type Problem struct {
	Title  string `json:"title" doc:"The words of the HTTP status." example:"Not Found"`
	Status int    `json:"status" doc:"The HTTP status." example:"404"`
	Detail string `json:"detail,omitempty" doc:"What was tried, what happened and what to do."`
	Code   string `json:"code" doc:"Stable code of the error." example:"TOSKA-INSTANCE-NONE"`
	// RequestID is what to look for in the node's log.
	RequestID string `json:"request_id,omitempty" doc:"What to look for in the node's log."`
	// DocURL is the path of the code's page; set on the control listener only.
	DocURL string         `json:"doc_url,omitempty" doc:"Page of the code." example:"/docs/errors/TOSKA-INSTANCE-NONE"`
	Errors []FieldProblem `json:"errors,omitempty" doc:"Each wrong field of the input."`
}

// FieldProblem is one wrong field of the input.
type FieldProblem struct {
	Field   string `json:"field" doc:"Path of the field." example:"metadata.weight"`
	Problem string `json:"problem" doc:"What is wrong with it and what would be right."`
}

// NewProblem describes err to the caller of the request that ctx belongs to. The cause of a mesh.Error
// and errors without a kind stay inside.
func NewProblem(ctx context.Context, err error) *Problem {
	d := describe(err)
	return newProblem(ctx, d.status, d.code, d.detail, d.fields)
}

func newProblem(ctx context.Context, status int, code, detail string, fields []mesh.FieldError) *Problem {
	p := &Problem{Title: http.StatusText(status), Status: status, Detail: detail, Code: code,
		RequestID: RequestID(ctx)}
	if ListenerFromContext(ctx).ErrorPages {
		p.DocURL = "/docs/errors/" + code
	}
	for _, f := range fields {
		p.Errors = append(p.Errors, FieldProblem(f))
	}
	return p
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType turns JSON's media type into a problem's.
func (p *Problem) ContentType(string) string { return ProblemType }

// WriteProblem answers with err as a problem document, or in the words of the RPC protocol that the
// request speaks.
func WriteProblem(w http.ResponseWriter, r *http.Request, err error) {
	rpc := connect.NewErrorWriter(connect.WithRequireConnectProtocolHeader())
	if rpc.IsSupported(r) {
		// The client is gone if this fails.
		_ = rpc.Write(w, r, RPCError(err))
		return
	}
	writeProblem(w, NewProblem(r.Context(), err))
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	body, err := json.Marshal(p)
	if err != nil {
		panic("httpapi: a problem document always has a JSON form: " + err.Error())
	}
	h := w.Header()
	h.Set("Content-Type", ProblemType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="toska"`)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(p.Status)
	// The client is gone if this fails.
	_, _ = w.Write(append(body, '\n'))
}
