package etcd_test

import (
	"log/slog"
	"testing"
)

// logTo sends what the engine says to the test's log, from warnings up.
func logTo(t testing.TB) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}
