package app

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/backend/etcd"
	"github.com/toska-mesh/toska-mesh/internal/backend/file"
	"github.com/toska-mesh/toska-mesh/internal/lifecycle"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// openingStore is the registry's store from before its engine is open: whoever stands on it need not
// wait for it to be made.
type openingStore struct {
	engine atomic.Pointer[etcd.Engine]
	memory registry.Store // in place of an engine; nil otherwise
	opened chan struct{}  // closed by runStore
	// failure is why the engine is not open, though the node goes on; nil otherwise
	failure atomic.Pointer[mesh.Error]
}

// CodeStoreUnopened is a store that could not be opened while the gateway serves the last table.
const CodeStoreUnopened = "TOSKA-STORE-UNOPENED"

// The pauses between attempts to open a store that something else is in the way of.
const (
	storeAgain     = time.Second
	storeAgainMost = 15 * time.Second
)

var errOpening = &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: "the store is being opened"}

func (s *openingStore) store() (registry.Store, error) {
	if s.memory != nil {
		return s.memory, nil
	}
	if e := s.engine.Load(); e != nil {
		return e.Store(), nil
	}
	if failure := s.failure.Load(); failure != nil {
		return nil, failure
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
	dir, ok := a.dir.(*file.Dir)
	if !ok {
		close(a.store.opened)
		ready()
		<-ctx.Done()
		return nil
	}
	cfg := etcd.DefaultConfig(dir.StorePath())
	cfg.Log = a.log("store")
	engine, err := a.openStore(ctx, dir, cfg)
	if err != nil {
		return err
	}
	a.store.failure.Store(nil)
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

// openStore opens the engine. Where that fails and the gateway has a last table, the node goes on without a
// store, and says so: what is damaged stays so until somebody repairs it, what is in the way may go.
func (a *App) openStore(ctx context.Context, dir *file.Dir, cfg etcd.Config) (*etcd.Engine, error) {
	for pause := storeAgain; ; pause = min(2*pause, storeAgainMost) {
		engine, err := etcd.Open(ctx, cfg)
		if err == nil || ctx.Err() != nil || !a.cfg.hasTable() {
			return engine, err
		}
		retried := mesh.CodeOf(err) == mesh.CodeStoreFailed
		a.storeUnopened(dir, err, retried)
		if !retried {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// storeUnopened raises the alarm, and logs the first of equal failures.
func (a *App) storeUnopened(dir *file.Dir, err error, retried bool) {
	then := "then restart the node"
	if retried {
		then = "it is tried again by itself"
	}
	why := err.Error()
	if e, ok := errors.AsType[*mesh.Error](err); ok {
		why = e.Detail
	}
	failure := &mesh.Error{Kind: mesh.ErrUnavailable, Code: CodeStoreUnopened, Cause: errors.New(why), Detail: fmt.Sprintf(
		"the store in %s could not be opened: %v; %s. Until then the gateway serves the last table from disk, and discovery takes and answers nothing",
		dir.StorePath(), why, then)}
	before := a.store.failure.Swap(failure)
	if before == nil || before.Detail != failure.Detail {
		a.log("store").Error("store could not be opened, the gateway serves the last table", "code", CodeStoreUnopened,
			"error", why, "next", then)
	}
}

// hasTable reports whether a gateway runs here that has a last table to serve.
func (c *Config) hasTable() bool {
	if !c.runs(RoleGateway) || c.Memory != nil {
		return false
	}
	snap, err := file.TableIn(c.DataDir).Load()
	return err == nil && snap != nil
}
