// Package accesslog writes one JSON line for each exchange, without ever making an exchange wait for
// the disk.
//
// # Concurrency
//
// Write is safe for concurrent use and does no I/O: it encodes into a buffer that Run writes out. When
// the writer is slower than the exchanges for longer than the buffers last, lines are dropped and
// counted.
package accesslog

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// flushEvery is how old a line may grow before it is written.
	flushEvery = 200 * time.Millisecond
	// flushBytes is how much is gathered before it is written at once.
	flushBytes = 64 << 10
	// heldBytes bounds what waits for a slow writer.
	heldBytes = 4 << 20
)

// Log gathers lines for a writer.
type Log struct {
	out     io.Writer
	wake    chan struct{}
	dropped atomic.Int64

	mu      sync.Mutex
	pending []byte // guarded by mu
	spare   []byte // guarded by mu; the buffer that was written last
}

// New returns a log that writes to out once Run runs.
func New(out io.Writer) *Log { return &Log{out: out, wake: make(chan struct{}, 1)} }

// Dropped returns how many lines were dropped so far.
func (l *Log) Dropped() int64 { return l.dropped.Load() }

// Write takes a line.
func (l *Log) Write(line *Line) {
	l.mu.Lock()
	if len(l.pending) > heldBytes {
		l.mu.Unlock()
		l.dropped.Add(1)
		return
	}
	l.pending = line.Append(l.pending)
	full := len(l.pending) >= flushBytes
	l.mu.Unlock()
	if full {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// Run writes lines out until ctx ends, then the rest. It returns the writer's error: the lines that it
// did not take are dropped, and those that come after wait for another Run.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return l.flush()
		case <-tick.C:
		case <-l.wake:
		}
		if err := l.flush(); err != nil {
			return err
		}
	}
}

func (l *Log) flush() error {
	l.mu.Lock()
	b := l.pending
	l.pending, l.spare = l.spare[:0], nil
	l.mu.Unlock()
	if len(b) == 0 {
		l.giveBack(b)
		return nil
	}
	n, err := l.out.Write(b)
	if err != nil {
		l.dropped.Add(int64(bytes.Count(b[min(max(n, 0), len(b)):], newline)))
	}
	l.giveBack(b)
	return err
}

var newline = []byte("\n")

func (l *Log) giveBack(b []byte) {
	if cap(b) > 2*heldBytes {
		return
	}
	l.mu.Lock()
	l.spare = b[:0]
	l.mu.Unlock()
}
