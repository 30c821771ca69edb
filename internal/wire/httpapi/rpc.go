package httpapi

import (
	"context"
	"errors"
	"io"

	"connectrpc.com/connect"

	problemv1 "github.com/toska-mesh/toska-mesh/api/problem/v1"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// RPCError turns err into an RPC's error that carries its code and fields as a detail. It is nil for
// nil, and leaves an error that is one already as it is.
func RPCError(err error) error {
	if err == nil {
		return nil
	}
	if _, already := errors.AsType[*connect.Error](err); already {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return connect.NewError(connect.CodeCanceled, err)
	}
	d := describe(err)
	out := connect.NewError(d.rpc, errors.New(d.detail))
	if detail, derr := connect.NewErrorDetail(RPCProblem(err)); derr == nil {
		out.AddDetail(detail)
	}
	return out
}

// RPCProblem is the message that describes err to a remote caller.
func RPCProblem(err error) *problemv1.Problem {
	d := describe(err)
	p := &problemv1.Problem{Kind: d.word, Code: d.code, Detail: d.detail}
	for _, f := range d.fields {
		p.Fields = append(p.Fields, &problemv1.Problem_Field{Field: f.Field, Problem: f.Problem})
	}
	return p
}

// FromRPCProblem is the inverse of RPCProblem: a *mesh.Error, or nil for nil.
func FromRPCProblem(p *problemv1.Problem) error {
	if p == nil {
		return nil
	}
	return fromProblem(p, connect.CodeInternal, nil)
}

// FromRPC turns the error of an RPC's client into a *mesh.Error with the kind, code and fields that the
// server gave; op says what was tried, and where. A server that could not be reached is
// mesh.ErrUnavailable. The end of the caller's own context stays recognisable.
func FromRPC(op string, err error) error {
	if err == nil {
		return nil
	}
	var rpc *connect.Error
	if !errors.As(err, &rpc) {
		return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable,
			Detail: op + ": " + err.Error(), Cause: err}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) && !connect.IsWireError(err) {
		// The end of a process cuts its streams in the middle of a message.
		return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable,
			Detail: op + ": the node ended the connection", Cause: err}
	}
	for _, detail := range rpc.Details() {
		if m, derr := detail.Value(); derr == nil {
			if p, ok := m.(*problemv1.Problem); ok {
				return fromProblem(p, rpc.Code(), err)
			}
		}
	}
	kind := kindOf("", rpc.Code())
	if kind == nil && !connect.IsWireError(err) {
		kind = mesh.ErrUnavailable
	}
	e := &mesh.Error{Kind: kind, Detail: op + ": " + rpc.Message(), Cause: err}
	e.Code = mesh.CodeOf(e)
	return e
}

func fromProblem(p *problemv1.Problem, code connect.Code, cause error) error {
	e := &mesh.Error{Kind: kindOf(p.GetKind(), code), Code: p.GetCode(), Detail: p.GetDetail(), Cause: cause}
	for _, f := range p.GetFields() {
		e.Fields = append(e.Fields, mesh.FieldError{Field: f.GetField(), Problem: f.GetProblem()})
	}
	return e
}
