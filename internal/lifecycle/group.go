package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// Group is the goroutines of one unit. The first of them to fail, by an error or a panic, ends the
// context of all.
type Group struct {
	ctx    context.Context
	cancel context.CancelFunc
	log    *slog.Logger
	wg     sync.WaitGroup

	mu  sync.Mutex
	err error // guarded by mu; the first failure
}

// NewGroup returns an empty group under ctx. Whoever makes a group calls Wait.
func NewGroup(ctx context.Context, log *slog.Logger) *Group {
	ctx, cancel := context.WithCancel(ctx)
	return &Group{ctx: ctx, cancel: cancel, log: log}
}

// Context ends when the group's parent does, when one of its goroutines fails, or when Wait returns.
func (g *Group) Context() context.Context { return g.ctx }

// Go starts fn with the group's context. Returning nil ends this goroutine only; an error or a panic
// ends the context of all. An error that merely tells that the context has ended is none.
func (g *Group) Go(name string, fn func(ctx context.Context) error) {
	g.wg.Go(func() {
		err := contain(g.log, name, func() error { return fn(g.ctx) })
		if err == nil || g.ctx.Err() != nil && errors.Is(err, g.ctx.Err()) {
			return
		}
		g.mu.Lock()
		if g.err == nil {
			g.err = fmt.Errorf("%s: %w", name, err)
		}
		g.mu.Unlock()
		g.cancel()
	})
}

// Wait returns when every goroutine has ended, with the first failure, which carries the name of the
// goroutine that failed.
func (g *Group) Wait() error {
	g.wg.Wait()
	g.cancel()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}
