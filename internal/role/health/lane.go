package health

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	// lanes is how many words are on their way to the registry at once. The words on one instance go
	// through one lane, and so in their order.
	lanes = 8
	// judgeTimeout bounds one word's way.
	judgeTimeout = 5 * time.Second
	// handAgain is how long to wait after the first failure, and handMost after many.
	handAgain = 250 * time.Millisecond
	handMost  = 8 * time.Second
)

// lane hands words to the registry, one after the other.
type lane struct {
	judge mesh.Judge
	log   *slog.Logger
	wake  chan struct{} // has a token when there is a word

	mu    sync.Mutex
	words map[string]word // guarded by mu; the newest on each instance
}

// hand puts a word on its way. It takes the place of an older one that did not get through.
func (r *round) hand(w word) {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(w.ref.ID)) // never fails
	r.lanes[sum.Sum32()%lanes].put(w, true)
}

func (l *lane) put(w word, newest bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, there := l.words[w.ref.ID]; there && !newest {
		return
	}
	l.words[w.ref.ID] = w
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *lane) take() (word, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, w := range l.words {
		delete(l.words, id)
		return w, true
	}
	return word{}, false
}

// run hands words over until ctx ends.
func (l *lane) run(ctx context.Context) error {
	wait := handAgain
	for {
		w, ok := l.take()
		if !ok {
			select {
			case <-l.wake:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		if l.say(ctx, w) {
			wait = handAgain
			continue
		}
		l.put(w, false)
		if !pause(ctx, wait+rand.N(wait/4)) {
			return nil
		}
		wait = min(2*wait, handMost)
	}
}

// say reports whether the word is done with: taken, or of an instance that is not there as such any more.
func (l *lane) say(ctx context.Context, w word) bool {
	limited, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	err := l.judge.Judge(limited, w.ref, w.rep)
	switch {
	case err == nil, errors.Is(err, mesh.ErrNotFound), errors.Is(err, mesh.ErrStale):
		return true
	case errors.Is(err, mesh.ErrInvalid), errors.Is(err, mesh.ErrForbidden):
		l.log.Error("the word of probes is refused", "instance", w.ref.ID, "health", w.rep.Health, "error", err)
		return true
	case ctx.Err() == nil:
		l.log.Warn("the word of probes is held back until the registry takes it", "instance", w.ref.ID, "health", w.rep.Health, "error", err)
	}
	return false
}
