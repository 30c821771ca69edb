package etcd_test

import (
	"log/slog"
	"testing"
)

// logTo sends what the engine says to the test's log, from warnings up.
func logTo(tb testing.TB) *slog.Logger {
	tb.Helper()
	return slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}
