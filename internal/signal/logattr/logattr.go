// Package logattr puts what the context knows of a request onto every line that is logged for it.
//
// # Concurrency
//
// A Handler is safe for concurrent use, as far as the one behind it is.
package logattr

import (
	"context"
	"log/slog"
	"slices"
)

// The keys of what is added.
const (
	KeyRequest = "request_id"
	KeyTrace   = "trace_id"
	KeyNode    = "node"
	KeyRole    = "role"
	// KeyCorrelation is the id by which clients tie requests together.
	KeyCorrelation = "correlation_id"
)

// Facts are what is known of the work that a context belongs to. Empty ones are not told.
type Facts struct {
	// Request is the request's id, and Trace that of its trace in hexadecimal digits.
	Request, Trace string
	// Correlation is the client's own id of several requests, if it sent one that can be logged.
	Correlation string
	// Role that does the work.
	Role string
}

type key struct{}

// NewContext returns a context that carries facts. Those that are empty are taken from ctx.
func NewContext(ctx context.Context, f Facts) context.Context {
	before := FromContext(ctx)
	for _, p := range []struct{ to, from *string }{
		{&f.Request, &before.Request}, {&f.Trace, &before.Trace}, {&f.Role, &before.Role},
		{&f.Correlation, &before.Correlation},
	} {
		if *p.to == "" {
			*p.to = *p.from
		}
	}
	return context.WithValue(ctx, key{}, f)
}

// FromContext returns the facts that ctx carries.
func FromContext(ctx context.Context) Facts {
	f, _ := ctx.Value(key{}).(Facts)
	return f
}

// Handler adds the node, and the facts of the context, to what the handler behind it writes. They stand
// outside of any group. What the line or its logger says already is not said twice.
type Handler struct {
	next slog.Handler // with the groups and attributes of the steps below
	root slog.Handler // before the first group
	// since the first group, for lines whose facts must come before it
	steps []func(slog.Handler) slog.Handler
	said  []string // keys outside of groups
}

// New returns a handler in front of next. An empty node is not told.
func New(next slog.Handler, node string) *Handler {
	h := &Handler{next: next, root: next}
	if node == "" {
		return h
	}
	return h.withAttrs([]slog.Attr{slog.String(KeyNode, node)})
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	attrs := h.facts(FromContext(ctx), &r)
	if len(attrs) == 0 {
		return h.next.Handle(ctx, r)
	}
	if len(h.steps) == 0 {
		r = r.Clone()
		r.AddAttrs(attrs...)
		return h.next.Handle(ctx, r)
	}
	next := h.root.WithAttrs(attrs)
	for _, step := range h.steps {
		next = step(next)
	}
	return next.Handle(ctx, r)
}

// facts returns what is to be added to a line.
func (h *Handler) facts(f Facts, r *slog.Record) []slog.Attr {
	if f == (Facts{}) {
		return nil
	}
	var attrs []slog.Attr
	for _, a := range [...]struct{ key, value string }{
		{KeyRequest, f.Request}, {KeyTrace, f.Trace}, {KeyRole, f.Role}, {KeyCorrelation, f.Correlation},
	} {
		if a.value != "" && !slices.Contains(h.said, a.key) && !h.says(r, a.key) {
			attrs = append(attrs, slog.String(a.key, a.value))
		}
	}
	return attrs
}

// says reports whether the line itself has the key, outside of groups.
func (h *Handler) says(r *slog.Record, key string) (yes bool) {
	if len(h.steps) > 0 {
		return false
	}
	r.Attrs(func(a slog.Attr) bool {
		yes = a.Key == key
		return !yes
	})
	return yes
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	return h.withAttrs(attrs)
}

func (h *Handler) withAttrs(attrs []slog.Attr) *Handler {
	out := *h
	out.next = h.next.WithAttrs(attrs)
	if len(h.steps) > 0 {
		out.steps = append(slices.Clip(h.steps), func(n slog.Handler) slog.Handler { return n.WithAttrs(attrs) })
		return &out
	}
	out.root = out.next
	for _, a := range attrs {
		out.said = append(slices.Clip(out.said), a.Key)
	}
	return &out
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	out := *h
	out.next = h.next.WithGroup(name)
	out.steps = append(slices.Clip(h.steps), func(n slog.Handler) slog.Handler { return n.WithGroup(name) })
	return &out
}
