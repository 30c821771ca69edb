// Package accesslog writes one line for each exchange, as JSON or in the formats that web servers share,
// without ever making an exchange wait for the disk.
//
// # Concurrency
//
// Write, Configure and Redirect are safe for concurrent use and do no I/O. Write encodes into the buffer of
// the line's lane, which Run writes out: those who write on different lanes do not meet. When the writer is
// slower than the exchanges for longer than the buffers last, lines are dropped and counted. Run and Close are
// not called at once.
package accesslog

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// flushEvery is how old a line may grow before it is written.
	flushEvery = 100 * time.Millisecond
	// flushBytes is how much a lane gathers before it is written at once: what fits a processor's own cache.
	flushBytes = 64 << 10
	// spareBytes is the largest buffer that a lane keeps for later.
	spareBytes = 4 * flushBytes
	// heldBytes bounds what all lanes hold for a slow writer, and laneBytes how small the share of one gets.
	heldBytes = 8 << 20
	laneBytes = 8 * flushBytes
)

// Log gathers lines for a writer.
type Log struct {
	plan  atomic.Pointer[plan]
	on    atomic.Bool              // there is somewhere to write to
	next  atomic.Pointer[redirect] // where Run is to go on; nil for where it is
	lanes []lane
	held  int // what a lane may hold
	// wake has a token while Run is to look at the lanes
	wake   chan struct{}
	asleep atomic.Bool // Run waits for the first line

	dropped  atomic.Int64
	lastDrop atomic.Int64 // in Unix nanoseconds; 0 for never

	// of Run and Close alone
	out io.Writer
	cut []byte // the rest of a line of which the writer took a part
}

// redirect is where lines go from now on; out is nil for nowhere.
type redirect struct{ out io.Writer }

// lane is a buffer of lines.
type lane struct {
	mu      sync.Mutex
	pending []byte // guarded by mu
	spare   []byte // guarded by mu; the buffer that was written last
	clock   clock  // guarded by mu
	_       [64]byte
}

// New returns a log that writes to out once Run runs, with the default settings. A nil out is nowhere, until
// Redirect says where.
func New(out io.Writer) *Log {
	n := runtime.GOMAXPROCS(0)
	l := &Log{out: out, wake: make(chan struct{}, 1), lanes: make([]lane, n), held: max(heldBytes/n, laneBytes)}
	l.plan.Store(&plan{fields: defaultFields, all: true})
	l.on.Store(out != nil)
	return l
}

// Configure puts settings in force for the lines to come. On an error those before stay.
func (l *Log) Configure(s Settings) error {
	p, err := newPlan(&s)
	if err == nil {
		l.plan.Store(p)
	}
	return err
}

// On reports whether lines go anywhere: where they do not, nobody need make one.
func (l *Log) On() bool { return l.on.Load() }

// Redirect has the lines go to out, or nowhere if that is nil, from the next one on: each line that is
// written after it returned, and may be some before. Where they went until now is closed once nothing is
// being written there, if it is an io.Closer.
func (l *Log) Redirect(out io.Writer) {
	if before := l.next.Swap(&redirect{out}); before != nil {
		closeWriter(before.out)
	}
	l.on.Store(out != nil)
	l.look()
}

// Dropped returns how many lines were dropped so far, and LastDrop when the last one was; zero for never.
func (l *Log) Dropped() int64 { return l.dropped.Load() }

// LastDrop returns when a line was dropped last; zero for never.
func (l *Log) LastDrop() time.Time {
	at := l.lastDrop.Load()
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(0, at)
}

func (l *Log) drop(n int) {
	if n > 0 {
		l.dropped.Add(int64(n))
		l.lastDrop.Store(time.Now().UnixNano())
	}
}

// Write takes a line.
func (l *Log) Write(line *Line) {
	p := l.plan.Load()
	if !l.on.Load() || !p.takes(line) {
		return
	}
	full, taken := l.lanes[uint(line.Lane)%uint(len(l.lanes))].take(line, p, l.held)
	if !taken {
		l.drop(1)
		return
	}
	// Run is woken by the first line and by a full buffer, and looks by itself in between.
	if full || l.asleep.Load() && l.asleep.CompareAndSwap(true, false) {
		l.look()
	}
}

// take encodes a line, and reports whether the lane became worth writing with it.
func (ln *lane) take(line *Line, p *plan, held int) (full, taken bool) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	before := len(ln.pending)
	if before > held {
		return false, false
	}
	if ln.pending == nil {
		ln.pending = make([]byte, 0, flushBytes+flushBytes/8)
	}
	if p.format == JSON {
		ln.pending = appendJSON(ln.pending, line, p, &ln.clock)
	} else {
		ln.pending = appendCommon(ln.pending, line, p, &ln.clock)
	}
	return before < flushBytes && len(ln.pending) >= flushBytes, true
}

func (l *Log) look() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run writes lines out until ctx ends, then the rest. It returns the writer's error: the lines that it
// did not take are dropped, and those that come after wait for another Run.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		wrote, err := l.flush()
		if err != nil {
			return err
		}
		if !wrote {
			tick.Stop()
			if !l.sleep(ctx) {
				_, err := l.flush()
				return err
			}
			tick.Reset(flushEvery)
		}
		select {
		case <-ctx.Done():
			_, err := l.flush()
			return err
		case <-tick.C:
		case <-l.wake:
		}
	}
}

// sleep waits until there is something to write; false once ctx has ended.
func (l *Log) sleep(ctx context.Context) bool {
	l.asleep.Store(true)
	defer l.asleep.Store(false)
	if !l.empty() {
		return true // it came before anybody could know that it has to wake
	}
	select {
	case <-ctx.Done():
		return false
	case <-l.wake:
		return true
	}
}

func (l *Log) empty() bool {
	for i := range l.lanes {
		ln := &l.lanes[i]
		ln.mu.Lock()
		n := len(ln.pending)
		ln.mu.Unlock()
		if n > 0 {
			return false
		}
	}
	return l.next.Load() == nil
}

// flush writes what every lane has, and reports whether that was anything.
func (l *Log) flush() (wrote bool, err error) {
	for i := range l.lanes {
		ln := &l.lanes[i]
		b := ln.swap()
		// What was written after Redirect returned is in b only if this sees it.
		if to := l.next.Load(); to != nil && to.out != nil {
			l.follow()
		}
		wrote = wrote || len(b) > 0
		if err == nil {
			err = l.put(b)
		} else {
			l.drop(bytes.Count(b, newline))
		}
		ln.giveBack(b)
	}
	if l.next.Load() != nil {
		l.follow()
	}
	return wrote, err
}

// put writes whole lines, and notes what is left of one that was cut.
func (l *Log) put(b []byte) error {
	if len(l.cut) > 0 {
		n, err := l.out.Write(l.cut)
		if err != nil {
			l.cut = l.cut[clamp(n, l.cut):]
			l.drop(bytes.Count(b, newline))
			return err
		}
		l.cut = nil
	}
	if len(b) == 0 || l.out == nil {
		return nil
	}
	n, err := l.out.Write(b)
	if err == nil {
		return nil
	}
	n = clamp(n, b)
	rest := b[n:]
	if n > 0 && b[n-1] != '\n' {
		end := bytes.IndexByte(rest, '\n') + 1
		l.cut, rest = bytes.Clone(rest[:end]), rest[end:]
	}
	l.drop(bytes.Count(rest, newline))
	return err
}

func clamp(n int, b []byte) int { return min(max(n, 0), len(b)) }

var newline = []byte("\n")

// follow goes where the last Redirect said.
func (l *Log) follow() {
	to := l.next.Swap(nil)
	if to == nil {
		return
	}
	closeWriter(l.out)
	if len(l.cut) > 0 {
		l.cut = nil
		l.drop(1)
	}
	l.out = to.out
}

// Close closes where the lines go, after Run has ended.
func (l *Log) Close() error {
	if to := l.next.Swap(nil); to != nil {
		closeWriter(to.out)
	}
	out, _ := l.out.(io.Closer)
	l.out = nil
	l.on.Store(false)
	if out == nil {
		return nil
	}
	return out.Close()
}

// closeWriter closes what was written to. What it says of it comes too late for anybody.
func closeWriter(w io.Writer) {
	if c, ok := w.(io.Closer); ok {
		_ = c.Close()
	}
}

// swap takes what is pending.
func (ln *lane) swap() []byte {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	b := ln.pending
	if len(b) == 0 {
		return nil
	}
	ln.pending, ln.spare = ln.spare, nil
	return b
}

func (ln *lane) giveBack(b []byte) {
	if b == nil || cap(b) > spareBytes {
		return
	}
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.spare = b[:0]
}
