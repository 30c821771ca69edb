//go:build unix

package etcd_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/backend/etcd"
)

func TestAnOpeningThatTakesItsTimeEndsWithItsContext(t *testing.T) {
	cfg := etcd.DefaultConfig(filepath.Join(t.TempDir(), "store"))
	engine, err := etcd.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	// A shared lock lets the database be looked at, and keeps it from being opened.
	db, err := os.Open(filepath.Join(cfg.Dir, "member", "snap", "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := syscall.Flock(int(db.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := etcd.Open(ctx, cfg); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("open: %v, want the end of its context", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("open returned after %s", took)
	}
	// What was left behind closes what it opens, so that it can be opened again.
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := etcd.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
