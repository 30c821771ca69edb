package etcd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	// root is the prefix of all that the registry stores: one watch covers records and journal.
	root = "toska/registry/"
	// values is the prefix of the records.
	values = root + "v/"
	// journal is the key whose history is the event log.
	journal = root + registry.JournalKey
	// maxWrites is how many writes a transaction may have; the engine's own limit is 128 operations.
	maxWrites = 100
	// pageSize is how many values one call of Load reads.
	pageSize = 5000
)

// Store is a registry.Store in etcd.
type Store struct {
	client *clientv3.Client
	epoch  uint64
	// check returns why no call can succeed any more.
	check func() error
	// guard returns why no write, or none that makes the store grow, is accepted now.
	guard func(growth bool) error
	// done is closed when the engine is over.
	done <-chan struct{}
}

var _ registry.Store = (*Store)(nil)

// Load returns every value and the revision at which all of them were read.
func (s *Store) Load(ctx context.Context) (mesh.Revision, []registry.Value, error) {
	call, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	var out []registry.Value
	from, number := values, int64(0)
	for {
		// The first page reads through the log; the others read what was there at the same revision.
		opts := []clientv3.OpOption{clientv3.WithRange(clientv3.GetPrefixRangeEnd(values)), clientv3.WithLimit(pageSize)}
		if number > 0 {
			opts = append(opts, clientv3.WithRev(number), clientv3.WithSerializable())
		}
		resp, err := s.client.Get(call, from, opts...)
		if err != nil {
			return mesh.Revision{}, nil, s.fault(ctx, "load", err)
		}
		if number == 0 {
			number = resp.Header.Revision
			out = make([]registry.Value, 0, resp.Count)
		}
		for _, kv := range resp.Kvs {
			out = append(out, registry.Value{Key: strings.TrimPrefix(string(kv.Key), values),
				Data: data(kv.Value), Revision: s.revision(kv.ModRevision)})
		}
		if !resp.More {
			return s.revision(number), out, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// Commit applies the transaction or nothing. When it returns the change is on the disk.
func (s *Store) Commit(ctx context.Context, txn registry.Txn) (mesh.Revision, error) {
	if len(txn.Writes) > maxWrites {
		return mesh.Revision{}, &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid,
			Detail: fmt.Sprintf("a transaction of %d writes is over the limit of %d", len(txn.Writes), maxWrites)}
	}
	if err := s.check(); err != nil {
		return mesh.Revision{}, err
	}
	growth := slices.ContainsFunc(txn.Writes, func(w registry.Write) bool { return w.Data != nil })
	if err := s.guard(growth); err != nil {
		return mesh.Revision{}, err
	}
	conds := make([]clientv3.Cmp, 0, len(txn.Writes))
	ops := make([]clientv3.Op, 0, len(txn.Writes)+1)
	for _, w := range txn.Writes {
		conds = append(conds, clientv3.Compare(clientv3.ModRevision(values+w.Key), "=", int64(w.If)))
		if w.Data == nil {
			ops = append(ops, clientv3.OpDelete(values+w.Key))
		} else {
			ops = append(ops, clientv3.OpPut(values+w.Key, string(w.Data)))
		}
	}
	journaled := append(slices.Clip(ops), clientv3.OpPut(journal, string(txn.Journal)))
	call, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	resp, err := s.client.Txn(call).If(conds...).Then(journaled...).Commit()
	if errors.Is(err, rpctypes.ErrNoSpace) && !growth {
		// At its quota the engine takes what writes nothing: room is worth more than the entry.
		resp, err = s.client.Txn(call).If(conds...).Then(ops...).Commit()
	}
	switch {
	case err != nil:
		return mesh.Revision{}, s.fault(ctx, "commit", err)
	case !resp.Succeeded:
		return mesh.Revision{}, &mesh.Error{Kind: mesh.ErrConflict, Code: mesh.CodeConflict,
			Detail: "what the transaction was to change has changed since"}
	}
	return s.revision(resp.Header.Revision), nil
}

// Compact forgets the history before the given revision; the current values stay.
func (s *Store) Compact(ctx context.Context, before mesh.Revision) error {
	call, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	if _, err := s.client.Compact(call, int64(before.Number)); err != nil {
		return s.fault(ctx, "compact", err)
	}
	return nil
}

// Watch yields each commit after the given revision.
func (s *Store) Watch(ctx context.Context, after mesh.Revision) iter.Seq2[registry.Commit, error] {
	return func(yield func(registry.Commit, error) bool) {
		if err := s.check(); err != nil {
			yield(registry.Commit{}, err)
			return
		}
		if after.Epoch != s.epoch {
			yield(registry.Commit{}, noHistory(after))
			return
		}
		watching, cancel := context.WithCancel(ctx)
		defer cancel()
		ch := s.client.Watch(watching, root, clientv3.WithPrefix(), clientv3.WithCreatedNotify(),
			clientv3.WithRev(int64(after.Number)+1))
		for {
			select {
			case resp, ok := <-ch:
				if !s.deliver(ctx, resp, ok, after, yield) {
					return
				}
			case <-s.done:
				yield(registry.Commit{}, s.check())
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

// deliver yields what one response of a watch holds. It is false when the watch is over.
func (s *Store) deliver(ctx context.Context, resp clientv3.WatchResponse, ok bool, after mesh.Revision,
	yield func(registry.Commit, error) bool) bool {
	switch {
	case ctx.Err() != nil:
		return false
	case !ok:
		yield(registry.Commit{}, s.fault(ctx, "watch", errors.New("the watch was closed")))
		return false
	case resp.CompactRevision != 0, resp.Created && uint64(resp.Header.Revision) < after.Number:
		yield(registry.Commit{}, noHistory(after))
		return false
	case resp.Err() != nil:
		yield(registry.Commit{}, s.fault(ctx, "watch", resp.Err()))
		return false
	}
	for _, c := range s.commits(resp.Events) {
		if !yield(c, nil) {
			return false
		}
	}
	return true
}

// commits groups events, which come in order and never split a revision, by their revision.
func (s *Store) commits(events []*clientv3.Event) []registry.Commit {
	var out []registry.Commit
	for _, ev := range events {
		rev := s.revision(ev.Kv.ModRevision)
		if len(out) == 0 || out[len(out)-1].Revision != rev {
			out = append(out, registry.Commit{Revision: rev})
		}
		c := &out[len(out)-1]
		key, isValue := strings.CutPrefix(string(ev.Kv.Key), values)
		switch {
		case isValue && ev.Type == clientv3.EventTypeDelete:
			c.Changes = append(c.Changes, registry.Value{Key: key, Revision: rev})
		case isValue:
			c.Changes = append(c.Changes, registry.Value{Key: key, Data: data(ev.Kv.Value), Revision: rev})
		case string(ev.Kv.Key) == journal:
			c.Journal = data(ev.Kv.Value)
		}
	}
	return out
}

// data returns a copy that is never nil: nil is a deletion. In process the engine hands out its own
// memory.
func data(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }

func (s *Store) revision(number int64) mesh.Revision {
	return mesh.Revision{Epoch: s.epoch, Number: uint64(number)}
}

func noHistory(after mesh.Revision) error {
	return &mesh.Error{Kind: mesh.ErrNotFound, Code: mesh.CodeNotFound,
		Detail: fmt.Sprintf("the history after revision %s is not there; load again", after)}
}

// fault translates an error of the engine. ctx is the caller's, without our own deadline.
func (s *Store) fault(ctx context.Context, op string, err error) error {
	if over := s.check(); over != nil {
		return over
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", op, ctx.Err())
	}
	code, detail := mesh.CodeUnavailable, fmt.Sprintf("%s: the store answers: %v", op, err)
	kind := mesh.ErrUnavailable
	switch {
	case errors.Is(err, rpctypes.ErrDuplicateKey):
		kind, code, detail = mesh.ErrInvalid, mesh.CodeInvalid, "a transaction writes a key twice"
	case errors.Is(err, rpctypes.ErrRequestTooLarge):
		kind, code, detail = mesh.ErrTooLarge, mesh.CodeTooLarge, "a transaction is over the 1.5 MiB that the store takes at once; split it"
	case errors.Is(err, rpctypes.ErrNoSpace):
		code, detail = mesh.CodeStoreFull, "the store has reached its quota and takes removals alone; deregister what is not needed, and it makes room by itself"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, rpctypes.ErrTimeout), errors.Is(err, rpctypes.ErrNoLeader),
		errors.Is(err, rpctypes.ErrTimeoutDueToLeaderFail), errors.Is(err, rpctypes.ErrTimeoutDueToConnectionLost):
		code, detail = mesh.CodeStoreNoQuorum, op+": the store did not answer within 2 s: it has no quorum, or its disk is stuck; try again shortly"
	}
	return &mesh.Error{Kind: kind, Code: code, Detail: detail, Cause: err}
}
