package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// REST calls the JSON of a node's control port. Errors have the kind, code and fields that the node gave; a
// node that does not answer is mesh.ErrUnavailable.
type REST struct {
	control string
	base    string // the URL that paths follow
	http    *http.Client
	timeout time.Duration
	most    int64
}

// NewREST returns a client for the node whose control port is at control, as Reach reads it, with a token
// unless that is empty. timeout bounds a call whose caller gave no deadline, most the bytes of an answer. It
// connects when it is first used. The caller closes it.
func NewREST(control, token string, timeout time.Duration, most int64) *REST {
	hc, base := Reach(control, token)
	return &REST{control: HostPort(control), base: base, http: hc, timeout: timeout, most: most}
}

// Control returns the node's address, host:port.
func (r *REST) Control() string { return r.control }

// Close closes the client's connections.
func (r *REST) Close() { r.http.CloseIdleConnections() }

// Call makes a request without a body and reads the answer to it. op is what errors say was tried.
func (r *REST) Call(ctx context.Context, op, method, path string, into any) error {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.timeout)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return unanswered(op, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, r.most+1))
	switch {
	case err != nil:
		return unanswered(op, err)
	case int64(len(body)) > r.most:
		return fmt.Errorf("%s: %w: the answer has more than %d bytes", op, mesh.ErrTooLarge, r.most)
	case resp.StatusCode != http.StatusOK:
		return refusal(op, resp.StatusCode, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s: the answer is none of ours: %w", op, err)
	}
	return nil
}

// unanswered is a node that did not answer. The end of the caller's own context stays recognisable.
func unanswered(op string, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", op, err)
	}
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: op + ": " + err.Error(), Cause: err}
}

// answered are the kinds behind the statuses that a node answers with.
var answered = map[int]error{
	http.StatusUnprocessableEntity:   mesh.ErrInvalid,
	http.StatusRequestEntityTooLarge: mesh.ErrTooLarge,
	http.StatusNotFound:              mesh.ErrNotFound,
	http.StatusConflict:              mesh.ErrConflict,
	http.StatusUnauthorized:          mesh.ErrUnauthenticated,
	http.StatusForbidden:             mesh.ErrForbidden,
	http.StatusServiceUnavailable:    mesh.ErrUnavailable,
}

// refusal turns a problem document into the error that it was made of.
func refusal(op string, status int, body []byte) error {
	var p Problem
	if err := json.Unmarshal(body, &p); err != nil || p.Code == "" {
		return fmt.Errorf("%s: the answer is %d %s and none of ours", op, status, strings.ToLower(http.StatusText(status)))
	}
	e := &mesh.Error{Kind: answered[status], Code: p.Code, Detail: p.Detail}
	for _, f := range p.Errors {
		e.Fields = append(e.Fields, mesh.FieldError(f))
	}
	return e
}
