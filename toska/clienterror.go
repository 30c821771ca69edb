package toska

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/toska-mesh/toska-mesh/internal/traffic/policy"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	codeNoService = "TOSKA-SERVICE-NONE"
	codeCut       = "TOSKA-UP-CUT"
)

// failedAttempt is what came of one try.
type failedAttempt struct {
	instance, addr string
	code, detail   string
	cause          error
}

// note keeps what came of a try, for the error of the call.
func (a *call) note(e *upstream.Endpoint, code, detail string, cause error) {
	a.failures = append(a.failures, failedAttempt{e.ID, e.Addr, code, detail, cause})
}

// target is what was called, without what is secret in a URL.
func (a *call) target() string {
	return fmt.Sprintf("%s %s://%s%s", a.req.Method, Scheme, a.req.URL.Host, a.req.URL.EscapedPath())
}

// unanswered explains that no endpoint answered: each that was tried, and why. Its code is that of the last.
func (a *call) unanswered() error {
	if len(a.failures) == 0 {
		return noEndpoint(a.target(), a.up)
	}
	last := &a.failures[len(a.failures)-1]
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: last.code, Cause: last.cause,
		Detail: a.target() + ": no instance answered: " + a.tried()}
}

// ended explains that the caller's context ended first.
func (a *call) ended(err error) error {
	what := a.target()
	if len(a.failures) > 0 {
		what += ": " + a.tried()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &mesh.Error{Kind: mesh.ErrUnavailable, Code: policy.CodeTimeout, Cause: err, Detail: what + ": " + err.Error()}
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (a *call) tried() string {
	var parts []string
	for _, f := range a.failures {
		parts = append(parts, fmt.Sprintf("%s at %s: %s", f.instance, f.addr, f.detail))
	}
	return strings.Join(parts, "; ")
}

func noService(name string) error {
	return &mesh.Error{Kind: mesh.ErrNotFound, Code: codeNoService,
		Detail: "call " + name + ": no instance of this service is registered; toska services lists those that are"}
}

func noEndpoint(what string, u *upstream.Upstream) error {
	why := u.Why
	if why == "" {
		why = "all of them were tried"
	}
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: policy.CodeNoEndpoint,
		Detail: what + ": no instance can be picked: " + why}
}

// unanswered names the failure of a request that was sent, and says what the endpoint did.
func unanswered(err error) (code, detail string) {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return policy.CodeTimeout, "it did not answer in time"
	case strings.Contains(err.Error(), "malformed"): // net/http has no value for it
		return policy.CodeMalformed, "its answer is malformed"
	}
	return policy.CodeReset, "it closed the connection without an answer"
}
