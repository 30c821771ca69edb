package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

// speech writes logs for the person who reads them between the lines of the program that toska run
// runs: "toska: message (key value, key value)".
type speech struct {
	w     io.Writer
	attrs []slog.Attr
}

// Enabled implements slog.Handler.
func (s speech) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

// Handle implements slog.Handler.
func (s speech) Handle(_ context.Context, r slog.Record) error {
	var facts []string
	add := func(a slog.Attr) bool {
		facts = append(facts, a.Key+" "+a.Value.String())
		return true
	}
	for _, a := range s.attrs {
		add(a)
	}
	r.Attrs(add)
	line := "toska: " + r.Message
	if len(facts) > 0 {
		line += " (" + strings.Join(facts, ", ") + ")"
	}
	_, err := fmt.Fprintln(s.w, line)
	return err
}

// WithAttrs implements slog.Handler.
func (s speech) WithAttrs(attrs []slog.Attr) slog.Handler {
	s.attrs = append(slices.Clip(s.attrs), attrs...)
	return s
}

// WithGroup implements slog.Handler. Groups are not shown.
func (s speech) WithGroup(string) slog.Handler { return s }
