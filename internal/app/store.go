package app

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"

	"github.com/toska-mesh/toska-mesh/internal/backend/etcd"
	"github.com/toska-mesh/toska-mesh/internal/lifecycle"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// openingStore is the registry's store from before its engine is open: whoever stands on it need not
// wait for it to be made.
type openingStore struct {
	engine atomic.Pointer[etcd.Engine]
	opened chan struct{} // closed by runStore
}

var errOpening = &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: "the store is being opened"}

func (s *openingStore) store() (registry.Store, error) {
	if e := s.engine.Load(); e != nil {
		return e.Store(), nil
	}
	return nil, errOpening
}

// Load implements registry.Store. It waits for the engine to be open: that is what a registry starts
// with.
func (s *openingStore) Load(ctx context.Context) (mesh.Revision, []registry.Value, error) {
	select {
	case <-s.opened:
	case <-ctx.Done():
		return mesh.Revision{}, nil, ctx.Err()
	}
	store, err := s.store()
	if err != nil {
		return mesh.Revision{}, nil, err
	}
	return store.Load(ctx)
}

// Commit implements registry.Store.
func (s *openingStore) Commit(ctx context.Context, txn registry.Txn) (mesh.Revision, error) {
	store, err := s.store()
	if err != nil {
		return mesh.Revision{}, err
	}
	return store.Commit(ctx, txn)
}

// Watch implements registry.Store.
func (s *openingStore) Watch(ctx context.Context, after mesh.Revision) iter.Seq2[registry.Commit, error] {
	store, err := s.store()
	if err != nil {
		return func(yield func(registry.Commit, error) bool) { yield(registry.Commit{}, err) }
	}
	return store.Watch(ctx, after)
}

// runStore opens the engine and closes it at the end. An engine that failed cannot be opened again in
// this process.
func (a *App) runStore(ctx context.Context, ready func()) (err error) {
	if a.store.engine.Load() != nil {
		return fmt.Errorf("%w: the store was open already", lifecycle.ErrPermanent)
	}
	cfg := etcd.DefaultConfig(a.dir.StorePath())
	cfg.Log = a.log("store")
	engine, err := etcd.Open(ctx, cfg)
	if err != nil {
		return err
	}
	a.store.engine.Store(engine)
	close(a.store.opened)
	defer func() { err = errors.Join(err, engine.Close()) }()
	ready()
	select {
	case <-ctx.Done():
		return nil
	case <-engine.Done():
		return fmt.Errorf("%w: %w", lifecycle.ErrPermanent, engine.Failed())
	}
}
