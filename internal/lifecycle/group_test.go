package lifecycle_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/lifecycle"
)

func TestGroupEndsWithItsFirstFailure(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(ctx context.Context) error
		want string
	}{
		{"an error", func(context.Context) error { return errDisk }, "watch: disk on fire"},
		{"a panic", func(context.Context) error { panic("index out of range") }, "watch: panic: index out of range"},
		{"a foreign end of a context", func(context.Context) error { return context.Canceled }, "watch: context canceled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := lifecycle.NewGroup(t.Context(), quiet())
				g.Go("fine", func(context.Context) error { return nil })
				g.Go("waits", func(ctx context.Context) error {
					<-ctx.Done()
					time.Sleep(time.Second)
					return errors.New("second failure")
				})
				g.Go("watch", tt.run)
				begun := time.Now()
				err := g.Wait()
				if err == nil || err.Error() != tt.want {
					t.Errorf("Wait = %v, want %q", err, tt.want)
				}
				if time.Since(begun) != time.Second {
					t.Errorf("Wait returned after %v, want it to wait for all", time.Since(begun))
				}
			})
		})
	}
}

func TestGroupEndsWithItsParentInOrder(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := lifecycle.NewGroup(ctx, quiet())
	g.Go("a", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	g.Go("b", func(ctx context.Context) error { <-ctx.Done(); return nil })
	cancel()
	if err := g.Wait(); err != nil {
		t.Errorf("Wait = %v, want nil: the end of the context is no failure", err)
	}
}

func TestGroupContextEndsWhenWaitReturns(t *testing.T) {
	g := lifecycle.NewGroup(t.Context(), quiet())
	g.Go("a", func(context.Context) error { return nil })
	if err := g.Wait(); err != nil {
		t.Errorf("Wait = %v, want nil", err)
	}
	if g.Context().Err() == nil {
		t.Error("the group's context outlives Wait")
	}
}

func TestAContainedPanicLeavesItsStackInTheLog(t *testing.T) {
	var log bytes.Buffer
	g := lifecycle.NewGroup(t.Context(), slog.New(slog.NewTextHandler(&log, nil)))
	g.Go("watch", func(context.Context) error { panic(errDisk) })
	err := g.Wait()
	if !errors.Is(err, errDisk) {
		t.Errorf("Wait = %v, want an error that matches the value of the panic", err)
	}
	if p, ok := errors.AsType[*lifecycle.PanicError](err); !ok || p.Value != any(errDisk) {
		t.Errorf("Wait = %v, want a PanicError with its value", err)
	}
	for _, want := range []string{"unit=watch", "group_test.go", "disk on fire"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %q:\n%s", want, log.String())
		}
	}
}
