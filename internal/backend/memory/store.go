package memory

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	// maxWrites is how many writes a transaction may have.
	maxWrites = 100
	// maxHistory is how many commits are kept for watchers; older ones are compacted.
	maxHistory = 4096
)

// Store is a registry.Store in memory. Its epoch is the time at which it was made.
type Store struct {
	epoch uint64

	// mu guards what follows.
	mu     sync.Mutex
	number uint64
	values map[string]registry.Value
	// history holds the commits with numbers above compacted, without gaps.
	history   []registry.Commit
	compacted uint64
	// changed is closed and replaced by each commit and compaction.
	changed chan struct{}
}

var _ registry.Store = (*Store)(nil)

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{
		epoch:   uint64(time.Now().UnixMicro()),
		values:  make(map[string]registry.Value),
		changed: make(chan struct{}),
	}
}

// Load returns every value and the revision at which all of them were read.
func (s *Store) Load(ctx context.Context) (mesh.Revision, []registry.Value, error) {
	if err := ctx.Err(); err != nil {
		return mesh.Revision{}, nil, fmt.Errorf("load: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	values := make([]registry.Value, 0, len(s.values))
	for _, v := range s.values {
		v.Data = bytes.Clone(v.Data)
		values = append(values, v)
	}
	return s.revisionLocked(), values, nil
}

// Commit applies the transaction or nothing.
func (s *Store) Commit(ctx context.Context, txn registry.Txn) (mesh.Revision, error) {
	if err := ctx.Err(); err != nil {
		return mesh.Revision{}, fmt.Errorf("commit: %w", err)
	}
	if err := checkTxn(txn); err != nil {
		return mesh.Revision{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range txn.Writes {
		if s.values[w.Key].Revision.Number != w.If {
			return mesh.Revision{}, &mesh.Error{Kind: mesh.ErrConflict, Code: mesh.CodeConflict,
				Detail: fmt.Sprintf("%s has changed", w.Key)}
		}
	}
	s.number++
	c := registry.Commit{Revision: s.revisionLocked(), Journal: bytes.Clone(txn.Journal)}
	for _, w := range txn.Writes {
		v := registry.Value{Key: w.Key, Data: bytes.Clone(w.Data), Revision: c.Revision}
		if w.Data == nil {
			delete(s.values, w.Key)
		} else {
			s.values[w.Key] = v
		}
		c.Changes = append(c.Changes, v)
	}
	s.history = append(s.history, c)
	if len(s.history) > maxHistory {
		s.compactLocked(s.history[len(s.history)-maxHistory/2].Revision.Number)
	}
	s.broadcastLocked()
	return c.Revision, nil
}

func checkTxn(txn registry.Txn) error {
	seen := make(map[string]bool, len(txn.Writes))
	for _, w := range txn.Writes {
		if seen[w.Key] {
			return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid,
				Detail: fmt.Sprintf("a transaction writes %s twice", w.Key)}
		}
		seen[w.Key] = true
	}
	if len(txn.Writes) > maxWrites {
		return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid,
			Detail: fmt.Sprintf("a transaction of %d writes is over the limit of %d", len(txn.Writes), maxWrites)}
	}
	return nil
}

// Compact forgets the commits before the given revision.
func (s *Store) Compact(_ context.Context, before mesh.Revision) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compactLocked(before.Number)
	s.broadcastLocked()
	return nil
}

func (s *Store) compactLocked(before uint64) {
	n := 0
	for n < len(s.history) && s.history[n].Revision.Number < before {
		n++
	}
	if n > 0 {
		s.compacted = s.history[n-1].Revision.Number
		s.history = append([]registry.Commit(nil), s.history[n:]...)
	}
}

func (s *Store) broadcastLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Store) revisionLocked() mesh.Revision {
	return mesh.Revision{Epoch: s.epoch, Number: s.number}
}

// Watch yields each commit after the given revision.
func (s *Store) Watch(ctx context.Context, after mesh.Revision) iter.Seq2[registry.Commit, error] {
	return func(yield func(registry.Commit, error) bool) {
		for {
			commits, changed, err := s.after(after)
			if err != nil {
				yield(registry.Commit{}, err)
				return
			}
			for _, c := range commits {
				if ctx.Err() != nil || !yield(c, nil) {
					return
				}
				after = c.Revision
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// after returns the commits after a revision, and the channel that closes when there are more.
func (s *Store) after(rev mesh.Revision) ([]registry.Commit, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rev.Epoch != s.epoch || rev.Number < s.compacted || rev.Number > s.number {
		return nil, nil, &mesh.Error{Kind: mesh.ErrNotFound, Code: mesh.CodeNotFound,
			Detail: fmt.Sprintf("the history after revision %s is not there; load again", rev)}
	}
	return s.history[rev.Number-s.compacted:], s.changed, nil
}
