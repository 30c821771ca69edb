package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"

	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	// callDeadline bounds every call to the engine: it would wait 6 s for a quorum itself.
	callDeadline = 2 * time.Second
	// startDeadline bounds how long a started engine may take to answer its first read.
	startDeadline = 15 * time.Second
	// leaderPause is how long the first read waits before it is tried again.
	leaderPause = 2 * time.Millisecond
	// epochKey holds the store's epoch, written once.
	epochKey = "toska/epoch"
)

// Engine is an etcd server in this process.
type Engine struct {
	cfg    Config
	bridge *bridge
	space  *space
	server *embed.Etcd
	client *clientv3.Client
	epoch  uint64
	relief *relief

	failure   atomic.Pointer[mesh.Error]
	done      chan struct{} // closed by finish
	finish    func()
	stop      context.CancelFunc
	closing   sync.Once
	monitored sync.WaitGroup
}

// Open starts the engine in cfg.Dir and returns when it answers. Close it when it is no longer used. An
// error names the file or directory that is at fault; nothing in it was deleted.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	cfg, err := cfg.filled()
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	setSegmentSize()
	e := &Engine{cfg: cfg, done: make(chan struct{}), space: newSpace(cfg)}
	e.finish = sync.OnceFunc(func() { close(e.done) })
	e.bridge = newBridge(cfg.Log, e.fail)
	if err := e.start(ctx); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	e.client = newClient(e.server)
	if err := e.awaitReady(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), e.Close())
	}
	e.bridge.settled()
	e.space.size = e.server.Server.Backend().Size
	e.relief = e.newRelief()
	e.relief.disarm(ctx)
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop = stop
	e.monitored.Go(func() { e.monitor(watching) })
	return e, nil
}

// newClient is the one place where the client of an engine is made.
func newClient(server *embed.Etcd) *clientv3.Client { return v3client.New(server.Server) }

// start runs the server's start on a goroutine of its own, because on a damaged directory that panics,
// faults, or ends its goroutine through the logger's hooks. The start cannot be called off: when ctx ends
// it is left behind, and closes what it opens.
func (e *Engine) start(ctx context.Context) error {
	var started *embed.Etcd
	err := errors.New("the engine gave up")
	done := make(chan struct{})
	go func() {
		defer close(done)
		debug.SetPanicOnFault(true)
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("the engine panicked: %v", p)
			}
		}()
		if err = e.inspect(); err != nil {
			return
		}
		err = errors.New("the engine gave up")
		started, err = e.startServer()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		go func() {
			if <-done; started != nil {
				started.Close()
			}
		}()
		return ctx.Err()
	}
	switch failed := e.failure.Load(); {
	case err == nil:
		e.server = started
		return nil
	case errors.As(err, new(*mesh.Error)):
		return err
	case failed != nil && failed.Cause != nil:
		return damaged(e.cfg.Dir, failed.Cause)
	}
	return damaged(e.cfg.Dir, err)
}

func (e *Engine) startServer() (*embed.Etcd, error) {
	ec, err := e.cfg.embedConfig(e.bridge.logger())
	if err != nil {
		return nil, err
	}
	return embed.StartEtcd(ec)
}

// awaitReady reads the epoch through the log, which proves that the engine leads and applies, and
// writes it on the first start.
func (e *Engine) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	for e.server.Server.Leader() == 0 && e.Failed() == nil && pause(ctx, leaderPause) {
		// It is about to elect itself.
	}
	epoch, err := e.readEpoch(ctx)
	for errors.Is(err, rpctypes.ErrLeaderChanged) && pause(ctx, leaderPause) {
		epoch, err = e.readEpoch(ctx)
	}
	if failed := e.Failed(); failed != nil {
		return failed
	}
	if err != nil {
		return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeStoreNoQuorum, Cause: err,
			Detail: fmt.Sprintf("the engine started but does not answer: %v", err)}
	}
	if e.epoch, err = parseEpoch(epoch); err != nil {
		return damaged(e.cfg.Dir, fmt.Errorf("its epoch, the key %s: %w", epochKey, err))
	}
	return nil
}

func parseEpoch(data []byte) (uint64, error) {
	content, err := registry.Unseal(data)
	if err != nil {
		return 0, err
	}
	epoch, err := strconv.ParseUint(string(content), 10, 64)
	if err != nil || epoch == 0 {
		return 0, fmt.Errorf("%q is not a number above zero", content)
	}
	return epoch, nil
}

// readEpoch reads the epoch, which is the time of the first start, and writes it if this is that.
func (e *Engine) readEpoch(ctx context.Context) ([]byte, error) {
	resp, err := e.client.Get(ctx, epochKey)
	if err != nil {
		return nil, err
	}
	if len(resp.Kvs) > 0 {
		return data(resp.Kvs[0].Value), nil
	}
	fresh := string(registry.Seal(strconv.AppendInt(nil, time.Now().UnixMicro(), 10)))
	if _, err := e.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(epochKey), "=", 0)).
		Then(clientv3.OpPut(epochKey, fresh)).Commit(); err != nil {
		return nil, err
	}
	return e.readEpoch(ctx)
}

// pause waits for d, or returns false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Store returns the registry's store. It lives as long as the engine.
func (e *Engine) Store() registry.Store {
	return &Store{client: e.client, epoch: e.epoch, check: e.check, guard: e.space.guard, done: e.done}
}

// Done is closed when the engine has failed or was closed.
func (e *Engine) Done() <-chan struct{} { return e.done }

// Failed returns why the engine ended by itself, or nil. It is mesh.ErrUnavailable with the code
// mesh.CodeStoreFailed.
func (e *Engine) Failed() error {
	if f := e.failure.Load(); f != nil {
		return f
	}
	return nil
}

// check returns why no call can succeed any more, or nil.
func (e *Engine) check() error {
	if err := e.Failed(); err != nil {
		return err
	}
	select {
	case <-e.done:
		return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: "the store is closed"}
	default:
		return nil
	}
}

// fail records the first failure.
func (e *Engine) fail(cause error) {
	f := &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeStoreFailed, Cause: cause,
		Detail: fmt.Sprintf("the store in %s has failed and takes no writes until this node is restarted (%v); "+
			"what was acknowledged is on the disk: check the disk's space and health, then restart", e.cfg.Dir, cause)}
	if e.failure.CompareAndSwap(nil, f) {
		e.cfg.Log.Error("store failed", slog.Any("error", cause), slog.String("dir", e.cfg.Dir))
		e.finish()
	}
}

// Refusing returns why the store takes no new records now, or nil: it has failed, its disk is nearly full,
// or it is near its quota. The error has the code and says what to do.
func (e *Engine) Refusing() error {
	if err := e.check(); err != nil {
		return err
	}
	return e.space.guard(true)
}

// monitor keeps the ballast and the size, and notices when the server stops by itself.
func (e *Engine) monitor(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		e.space.tend(e.cfg.Log)
		e.relief.give(ctx)
		select {
		case <-t.C:
		case <-e.server.Server.StopNotify():
			if ctx.Err() == nil {
				e.fail(errors.New("the engine stopped by itself"))
			}
			return
		case <-e.done:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Close stops the engine, which takes up to a few hundred milliseconds. A failed one cannot be stopped
// and is left as it is. Calls that are on their way end with mesh.ErrUnavailable.
func (e *Engine) Close() error {
	var err error
	e.closing.Do(func() {
		if e.stop != nil {
			e.stop()
			e.monitored.Wait()
		}
		failed := e.Failed() != nil
		e.bridge.quiet()
		e.finish()
		if failed {
			return
		}
		if cerr := e.client.Close(); cerr != nil && !errors.Is(cerr, context.Canceled) {
			err = fmt.Errorf("close the store's client: %w", cerr)
		}
		e.server.Close()
	})
	return err
}

// damaged is the error of a directory that cannot be opened.
func damaged(path string, cause error) error {
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeStoreDamaged, Cause: cause,
		Detail: fmt.Sprintf("%s cannot be read as a store (%v); nothing in it was deleted: "+
			"restore it from a backup, or move it away to begin with an empty store", path, cause)}
}

// refused is the error of a directory that this process may not use as it is.
func refused(path string, cause error, advice string) error {
	if errors.Is(cause, os.ErrPermission) {
		advice = "let the user of this process read and write it, or name another data directory"
	}
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeStoreFailed, Cause: cause,
		Detail: fmt.Sprintf("%s cannot be used (%v): %s", path, cause, advice)}
}
