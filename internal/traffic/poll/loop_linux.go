package poll

import (
	"context"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Loops are the event loops of a process.
type Loops struct {
	all  []*loop
	next atomic.Uint32
}

// loop is one of them.
type loop struct {
	id    int
	epoll int
	bell  int // an eventfd that ends a wait
	// away counts the goroutines in which carriers that left go on.
	away sync.WaitGroup

	carriers []*Carrier // at rest; of the loop alone
	events   []syscall.EpollEvent
	ready    []*Conn // of the events; of the loop alone

	// earliest deadline of those that wait, in Unix nanoseconds
	earliest atomic.Int64
	asleep   atomic.Bool
	ended    atomic.Bool

	mu    sync.Mutex
	slots []slot     // guarded by mu
	free  []int32    // guarded by mu
	due   []*Carrier // to resume; guarded by mu
	start []*Conn    // to serve; guarded by mu
	rest  []*Carrier // whose job ended away from the loop; guarded by mu
}

// slot is where an event finds its connection. A generation tells it from one that had the slot before.
type slot struct {
	conn       *Conn
	generation int32
}

const never = math.MaxInt64

// New returns n loops, which carry nothing until Run.
func New(n int) (*Loops, error) {
	ls := &Loops{}
	for id := range n {
		l, err := newLoop(id)
		if err != nil {
			ls.free()
			return nil, fmt.Errorf("make an event loop: %w", err)
		}
		ls.all = append(ls.all, l)
	}
	return ls, nil
}

func newLoop(id int) (*loop, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	l := &loop{id: id, epoll: epoll, bell: -1, events: make([]syscall.EpollEvent, 256)}
	l.earliest.Store(never)
	if l.bell, err = newBell(); err != nil {
		l.close()
		return nil, err
	}
	ring := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: -1}
	if err := syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, l.bell, &ring); err != nil {
		l.close()
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return l, nil
}

func (ls *Loops) free() {
	for _, l := range ls.all {
		l.close()
	}
}

func (l *loop) close() {
	_ = syscall.Close(l.epoll)
	if l.bell >= 0 {
		_ = syscall.Close(l.bell)
	}
}

// Len returns how many there are.
func (ls *Loops) Len() int { return len(ls.all) }

// Run carries until ctx ends. Connections that are open then are broken off, and what serves them has
// ended when Run returns. It is called once.
func (ls *Loops) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, l := range ls.all {
		wg.Go(l.run)
	}
	<-ctx.Done()
	for _, l := range ls.all {
		l.ended.Store(true)
		l.ring()
	}
	wg.Wait()
	ls.free()
}

// run waits for events and serves them, until the loop is told to end.
func (l *loop) run() {
	busy := false
	for !l.ended.Load() {
		n := l.wait(busy || l.posted())
		l.collect(l.events[:n])
		for i, c := range l.ready {
			l.ready[i] = nil
			l.attend(c)
		}
		busy = len(l.ready) > 0
		l.ready = l.ready[:0]
		l.answer()
		if l.earliest.Load() <= time.Now().UnixNano() {
			l.expire()
		}
	}
	l.finish()
}

// posted reports whether others have left something to do.
func (l *loop) posted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.due) > 0 || len(l.start) > 0
}

// wait returns how many events there are. Without a pause it only looks.
func (l *loop) wait(look bool) int {
	if look {
		if n, again := epollLook(l.epoll, l.events); !again || l.posted() {
			return n
		}
	}
	l.asleep.Store(true)
	defer l.asleep.Store(false)
	if l.posted() || l.ended.Load() {
		n, _ := epollLook(l.epoll, l.events)
		return n
	}
	if look {
		// Under load the next event is a moment away.
		if n := epollNap(l.epoll, l.events); n > 0 {
			return n
		}
	}
	timeout := time.Duration(-1)
	if at := l.earliest.Load(); at != never {
		timeout = max(time.Until(time.Unix(0, at)), 0)
	}
	return epollWait(l.epoll, l.events, timeout)
}

// collect finds the connections of events, and notes what they can do now.
func (l *loop) collect(events []syscall.EpollEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range events {
		ev := &events[i]
		if ev.Fd < 0 {
			quietBell(l.bell)
			continue
		}
		if s := &l.slots[ev.Fd]; s.conn != nil && s.generation == ev.Pad {
			s.conn.happened |= ev.Events
			l.ready = append(l.ready, s.conn)
		}
	}
}

// attend resumes or begins what waited for a connection.
func (l *loop) attend(c *Conn) {
	in, out, begin := c.note()
	if in != nil {
		l.resume(in)
	}
	if out != nil {
		l.resume(out)
	}
	if begin {
		l.serve(c)
	}
}

// answer does what others have posted.
func (l *loop) answer() {
	l.mu.Lock()
	due, start := l.due, l.start
	l.due, l.start = nil, nil
	l.carriers = append(l.carriers, l.rest...)
	clear(l.rest)
	l.rest = l.rest[:0]
	l.mu.Unlock()
	for _, k := range due {
		l.resume(k)
	}
	for _, c := range start {
		l.serve(c)
	}
}

// serve begins a turn of a connection.
func (l *loop) serve(c *Conn) {
	var k *Carrier
	if n := len(l.carriers); n > 0 {
		k = l.carriers[n-1]
		l.carriers[n-1] = nil
		l.carriers = l.carriers[:n-1]
	} else {
		k = newCarrier(l)
	}
	k.job, k.left = c.turn, share
	c.Carry(k)
	l.resume(k)
}

// resume runs a carrier until it waits, leaves or ends.
func (l *loop) resume(k *Carrier) {
	k.onLoop = true
	switch p, _ := k.next(); p {
	case waits:
	case over:
		l.carriers = append(l.carriers, k)
	case leaves:
		k.onLoop = false
		l.away.Go(func() {
			_, _ = k.next() // it never waits for the loop again, so that this is its end
			l.mu.Lock()
			l.rest = append(l.rest, k)
			l.mu.Unlock()
		})
	}
}

// later resumes a carrier of this loop after the others.
func (l *loop) later(k *Carrier) {
	l.mu.Lock()
	l.due = append(l.due, k)
	l.mu.Unlock()
}

// post has the loop resume k, or begin a turn of c; either may be nil.
func (l *loop) post(k *Carrier, c *Conn) {
	l.mu.Lock()
	if k != nil {
		l.due = append(l.due, k)
	}
	if c != nil {
		l.start = append(l.start, c)
	}
	l.mu.Unlock()
	if l.asleep.Load() {
		l.ring()
	}
}

func (l *loop) ring() { ringBell(l.bell) }

// by tells the loop of a deadline.
func (l *loop) by(at int64) {
	for {
		now := l.earliest.Load()
		if at >= now {
			return
		}
		if l.earliest.CompareAndSwap(now, at) {
			if l.asleep.Load() {
				l.ring()
			}
			return
		}
	}
}

// coarse is how far apart looks at all deadlines are at least.
const coarse = 5 * time.Millisecond

// expire ends the waits whose deadline has passed, and finds the next deadline.
func (l *loop) expire() {
	l.earliest.Store(never)
	open := l.open()
	now := time.Now()
	next := int64(never)
	for _, c := range open {
		at, in, out, begin := c.expire(now.UnixNano())
		next = min(next, at)
		if in != nil {
			l.resume(in)
		}
		if out != nil {
			l.resume(out)
		}
		if begin {
			l.serve(c)
		}
	}
	if next != never {
		l.by(max(next, now.Add(coarse).UnixNano()))
	}
}

// add registers a connection.
func (l *loop) add(c *Conn) error {
	l.mu.Lock()
	if n := len(l.free); n > 0 {
		c.slot = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		c.slot = int32(len(l.slots))
		l.slots = append(l.slots, slot{})
	}
	s := &l.slots[c.slot]
	s.conn = c
	s.generation++
	ev := syscall.EpollEvent{Events: interest, Fd: c.slot, Pad: s.generation}
	l.mu.Unlock()
	if err := syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_ADD, c.fd, &ev); err != nil {
		l.remove(c)
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

func (l *loop) remove(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slots[c.slot].conn = nil
	l.free = append(l.free, c.slot)
}

// finish closes what is left, and waits for what serves it.
func (l *loop) finish() {
	for l.closeAll() || l.posted() {
		l.answer()
	}
	l.away.Wait()
	l.answer()
	for _, k := range l.carriers {
		k.stop()
	}
	l.carriers = nil
}

// closeAll closes every connection, and reports whether there was one.
func (l *loop) closeAll() bool {
	open := l.open()
	for _, c := range open {
		_ = c.Close()
	}
	return len(open) > 0
}

// open returns the connections.
func (l *loop) open() []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	open := make([]*Conn, 0, len(l.slots)-len(l.free))
	for _, s := range l.slots {
		if s.conn != nil {
			open = append(open, s.conn)
		}
	}
	return open
}
