package http1

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/poll"
)

const (
	// bufferBytes is the common buffer: a head and the front of a body, or a piece of a body.
	bufferBytes = 16 << 10
	// spareBytes is what must be free behind a head for its body; a fuller buffer is changed for a large one.
	spareBytes = 4 << 10
)

// Buffers are the buffers that connections borrow while there is something to read or to write.
type Buffers struct {
	common sync.Pool
	large  sync.Pool
	bytes  int // of a large one
}

// NewBuffers returns an empty pool whose large buffers hold a head of the limit and some of a body.
func NewBuffers(lim Limits) *Buffers {
	return &Buffers{bytes: max(lim.HeadBytes, bufferBytes) + bufferBytes}
}

// Borrow returns a buffer of 16 KiB, of any length; give it back with Return.
func (p *Buffers) Borrow() *[]byte { return p.get() }

// Return takes back what Borrow gave.
func (p *Buffers) Return(b *[]byte) { p.put(b) }

func (p *Buffers) get() *[]byte {
	if b, ok := p.common.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, bufferBytes)
	return &b
}

func (p *Buffers) getLarge() *[]byte {
	if b, ok := p.large.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, p.bytes)
	return &b
}

func (p *Buffers) put(b *[]byte) {
	*b = (*b)[:cap(*b)]
	if len(*b) == bufferBytes {
		p.common.Put(b)
	} else {
		p.large.Put(b)
	}
}

// source reads a connection into a borrowed buffer. While nothing is buffered it holds none: it waits
// for the connection to become readable first, and borrows then.
type source struct {
	conn    net.Conn
	looped  *poll.Conn      // nil where the connection is of no loop
	secured *Secured        // conn, if it is under TLS
	raw     syscall.RawConn // nil where only a read of one byte can wait
	sock    syscall.RawConn // nil where nothing can be looked at without being read
	buffers *Buffers
	buf     *[]byte
	base    int // bytes before are pinned: a head's slices point there
	r, w    int
	read    deadline
	// what the readable callback left behind
	onReadable func(fd uintptr) bool
	n          int
	err        error
	one        [1]byte
	onQuiet    func(fd uintptr) bool
	still      bool // what onQuiet left behind, and lost, which is a connection that was reset
	lost       bool
}

func (s *source) start(conn net.Conn, buffers *Buffers, plain bool) {
	s.conn, s.buffers = conn, buffers
	s.read.set = conn.SetReadDeadline
	if c, ok := conn.(*poll.Conn); ok {
		s.looped = c
		return
	}
	s.secured, _ = conn.(*Secured)
	if sc, ok := below(conn).(syscall.Conn); ok && rawReads {
		if raw, err := sc.SyscallConn(); err == nil {
			s.sock = raw
		}
	}
	if !plain && s.secured == nil {
		s.raw = s.sock
	}
}

// quiet reports whether the connection is open and has nothing to read, as far as can be told: whatever
// an endpoint sent without being asked must not become the answer to somebody's next request.
func (s *source) quiet() bool {
	if s.looped != nil {
		return s.looped.Quiet()
	}
	if s.sock == nil {
		return true
	}
	if s.onQuiet == nil {
		s.onQuiet = s.look // once a connection: a method value is an allocation
	}
	s.still = false
	err := s.sock.Read(s.onQuiet)
	return err == nil && s.still
}

func (s *source) look(fd uintptr) bool {
	err := rawPeek(fd, s.one[:])
	s.still = wouldBlock(err)
	s.lost = err != nil && !s.still
	return true
}

// broken reports whether the connection is known to be reset. A peer that has only said its last is still
// there.
func (s *source) broken() bool {
	if s.looped != nil {
		return s.brokenLooped()
	}
	if s.sock == nil {
		return false
	}
	s.lost = false
	_ = s.quiet()
	return s.lost
}

// brokenLooped reads on behind what is pending: a loop's connection cannot be looked at otherwise.
func (s *source) brokenLooped() bool {
	if s.buf == nil || s.room() == 0 {
		return false // there is no room to find out
	}
	n, _, err := s.looped.TryRead((*s.buf)[s.w:])
	s.w += n
	return err != nil && !errors.Is(err, io.EOF) && !isTimeout(err)
}

// pending returns what is buffered and not consumed.
func (s *source) pending() []byte {
	if s.buf == nil {
		return nil
	}
	return (*s.buf)[s.r:s.w]
}

// consume gives up the first n pending bytes. Their memory may be written again by the next fill.
func (s *source) consume(n int) {
	s.r += n
	if s.r == s.w {
		s.r, s.w = s.base, s.base
	}
}

// pin keeps the first n bytes of the buffer as they are until unpin, and counts them as consumed.
func (s *source) pin(n int) {
	s.base = n
	s.consume(n)
}

// unpin ends an exchange: what is left over moves to the front, an empty buffer goes back.
func (s *source) unpin() {
	s.base = 0
	if s.buf == nil {
		return
	}
	if s.r == s.w {
		s.release()
		return
	}
	s.w = copy(*s.buf, (*s.buf)[s.r:s.w])
	s.r = 0
}

// release gives the buffer back with whatever is in it.
func (s *source) release() {
	if s.buf != nil {
		s.buffers.put(s.buf)
		s.buf = nil
	}
	s.base, s.r, s.w = 0, 0, 0
}

// room returns how many bytes a fill could read.
func (s *source) room() int {
	if s.buf == nil {
		return bufferBytes
	}
	return len(*s.buf) - s.w
}

// grow changes the buffer for a large one. Slices into the old one must be made anew. It reports
// whether it could.
func (s *source) grow() bool {
	if len(*s.buf) != bufferBytes {
		return false
	}
	large := s.buffers.getLarge()
	copy(*large, (*s.buf)[:s.w])
	s.buffers.put(s.buf)
	s.buf = large
	return true
}

// fill reads at least one byte more. At the end of the stream it returns io.EOF.
func (s *source) fill() error {
	if s.buf == nil {
		return s.fillFirst()
	}
	n, err := s.conn.Read((*s.buf)[s.w:])
	s.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// fillFirst waits without a buffer.
func (s *source) fillFirst() error {
	if s.looped != nil {
		return s.fillLooped()
	}
	if s.raw == nil {
		n, err := s.conn.Read(s.one[:])
		if n == 0 {
			return err
		}
		s.buf = s.buffers.get()
		(*s.buf)[0] = s.one[0]
		s.w = 1
		if s.secured != nil {
			s.w += s.secured.rest((*s.buf)[1:]) // the record is there as a whole
		}
		return nil
	}
	if s.onReadable == nil {
		s.onReadable = s.readable // once a connection: a method value is an allocation
	}
	if err := s.raw.Read(s.onReadable); err != nil {
		return err
	}
	if s.err != nil {
		return s.err
	}
	if s.n == 0 {
		return io.EOF
	}
	s.w = s.n
	return nil
}

// fillLooped waits on the connection's loop.
func (s *source) fillLooped() error {
	for {
		if err := s.looped.WaitRead(); err != nil {
			return err
		}
		if again, err := s.try(); !again {
			return err
		}
	}
}

// try reads from a connection of a loop into a buffer that it borrows if there is something; again says
// that there is not.
func (s *source) try() (again bool, err error) {
	buf := s.buffers.get()
	n, again, err := s.looped.TryRead(*buf)
	if n == 0 {
		s.buffers.put(buf)
		return again, err
	}
	s.buf, s.w = buf, n
	return false, nil
}

// readable runs when the connection may have bytes. It borrows a buffer only for as long as there are.
func (s *source) readable(fd uintptr) bool {
	buf := s.buffers.get()
	for {
		s.n, s.err = rawRead(fd, *buf)
		if !errors.Is(s.err, syscall.EINTR) {
			break
		}
	}
	if s.n > 0 && s.err == nil {
		s.buf = buf
		return true
	}
	s.buffers.put(buf)
	return !wouldBlock(s.err)
}

// deadline pushes a connection's deadline out lazily: setting it costs more than looking at it.
type deadline struct {
	set     func(time.Time) error
	until   time.Time
	stopped atomic.Bool
}

// keep makes the deadline fire between d and a quarter more than d after now. Zero means never.
func (d *deadline) keep(now time.Time, after time.Duration) error {
	if after <= 0 {
		return d.clear()
	}
	if left := d.until.Sub(now); left >= after && left <= after+after/4 {
		return nil
	}
	d.until = now.Add(after + after/4)
	return d.move(d.until)
}

// move sets the deadline. One that was stopped before, or is while it moves, has passed.
func (d *deadline) move(t time.Time) error {
	err := d.set(t)
	if err == nil && d.stopped.Load() {
		d.stop() // it may have been stopped before it was set
		err = os.ErrDeadlineExceeded
	}
	return err
}

// stop makes the deadline pass now and for good, from another goroutine.
func (d *deadline) stop() {
	d.stopped.Store(true)
	_ = d.set(time.Unix(1, 0))
}

// clear takes the deadline away.
func (d *deadline) clear() error {
	if d.until.IsZero() {
		return nil
	}
	d.until = time.Time{}
	return d.move(time.Time{})
}

// slide moves what is pending down to the pinned bytes, to make room behind it.
func (s *source) slide() {
	s.w = s.base + copy((*s.buf)[s.base:], (*s.buf)[s.r:s.w])
	s.r = s.base
}
