package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// Link is a connection to an endpoint. It serves one exchange at a time.
type Link struct {
	pool  *Pool
	conn  net.Conn
	src   source
	write deadline
	resp  response
	body  body
	since time.Time
	// bounds has how long a body may make no progress, and no other bound
	bounds exchange.Bounds
	used   bool // it has served an exchange before
	home   int  // which of the pool's lists it belongs to
	// single links speak for one client, and serve no other after
	single bool
	sent   int64
	// begun says that something of an exchange was sent: an upload may send while the link is closed
	begun atomic.Bool
	// taken is when the exchange got the link, dialled how long it had to wait for it
	taken   time.Time
	dialled time.Duration
	// unwatch lets go of the context that the link was dialled under
	unwatch func() bool
}

// LinkConfig bounds what an endpoint may do.
type LinkConfig struct {
	Limits  Limits
	Buffers *Buffers
	// Stall is how long a body may make no progress, unless SetStall says otherwise; default 30 s.
	Stall time.Duration
	// Idle is how long a link is kept without being used; default 55 s, below what most servers keep.
	Idle time.Duration
	// PlainReads reads through net.Conn alone.
	PlainReads bool
	// Dial opens the connection; nil dials TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
}

// DefaultLinkConfig returns the defaults.
func DefaultLinkConfig() LinkConfig {
	lim := DefaultLimits()
	return LinkConfig{Limits: lim, Buffers: NewBuffers(lim), Stall: 30 * time.Second, Idle: 55 * time.Second}
}

func newLink(p *Pool, conn net.Conn) *Link {
	l := &Link{pool: p, conn: conn, bounds: exchange.Bounds{Idle: p.cfg.Stall}}
	l.src.start(conn, p.cfg.Buffers, p.cfg.PlainReads)
	l.write.set = conn.SetWriteDeadline
	return l
}

// Used reports whether the link served an exchange before: an endpoint may close such a one at any
// moment, and a request that it did not answer can have been the victim.
func (l *Link) Used() bool { return l.used }

// Taken returns when the current exchange got the link, and how long it was dialled for that; zero for one
// that was there.
func (l *Link) Taken() (at time.Time, dialled time.Duration) { return l.taken, l.dialled }

// SetStall says how long the bodies of the next exchange may make no progress.
func (l *Link) SetStall(d time.Duration) { l.bounds.Idle = d }

// Send writes a request's head with the first piece of its body, or another piece.
func (l *Link) Send(p []byte) error {
	if err := l.write.keep(time.Now(), l.bounds.Idle); err != nil {
		return err
	}
	if !l.begun.Load() {
		l.begun.Store(true)
	}
	n, err := l.conn.Write(p)
	l.sent += int64(n)
	return err
}

// Receive reads the head of the answer, which lives until Release. wait bounds the time to it. Interim
// answers go on to the client, and what is held back for the client is flushed before the link waits
// for more of the body. An error came before any byte of an answer if Silent reports true.
func (l *Link) Receive(method []byte, wait time.Duration, to exchange.Answer) (*exchange.Head, error) {
	if l.src.buf == nil {
		l.src.buf = l.src.buffers.get()
	}
	if err := l.src.read.keep(time.Now(), wait); err != nil {
		return nil, err
	}
	for interims := 0; ; interims++ {
		if err := l.readHead(); err != nil {
			return nil, err
		}
		if l.resp.Status >= 200 || l.resp.Status == 101 {
			break
		}
		if interims == interimAnswers {
			return nil, malformed(errInterims)
		}
		if err := to.Interim(l.resp.Status, l.resp.Fields); err != nil {
			return nil, err
		}
		l.src.unpin()
		if l.src.buf == nil {
			l.src.buf = l.src.buffers.get()
		}
	}
	l.startBody(method, to)
	return &l.resp.Head, nil
}

var errInterims = errors.New("too many interim answers")

func (l *Link) startBody(method []byte, to exchange.Answer) {
	fr := l.resp.framing
	if l.resp.Bodiless = l.resp.bodiless(method); l.resp.Bodiless {
		fr = framing{close: fr.close}
	}
	l.body.start(&l.src, &fr, &l.pool.cfg.Limits, &l.bounds)
	l.body.flush = to
}

func (l *Link) readHead() error {
	for {
		if p := l.src.pending(); len(p) > 0 {
			l.resp.reset()
			n, err := l.resp.parse(p, &l.pool.cfg.Limits)
			if err == nil && l.src.room() < spareBytes && l.src.grow() {
				continue
			}
			if err == nil {
				l.src.pin(n)
				return nil
			}
			if !errors.Is(err, errIncomplete) {
				return err
			}
		}
		if l.src.room() == 0 && !l.src.grow() {
			return malformed(errHeadTooLong)
		}
		if err := l.src.fill(); err != nil {
			if errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// Silent reports whether not one byte of an answer has come.
func (l *Link) Silent() bool { return len(l.src.pending()) == 0 && l.src.base == 0 }

// Body returns the answer's body after Receive. Its errors are the endpoint's.
func (l *Link) Body() exchange.Body { return (*linkBody)(&l.body) }

// linkBody tells an endpoint's fault from a client's.
type linkBody body

func (b *linkBody) Next() ([]byte, error) {
	p, err := (*body)(b).Next()
	if fault, ok := errors.AsType[*exchange.ClientError](err); ok {
		err = malformed(fault)
	}
	return p, err
}

func (b *linkBody) Buffered() ([]byte, bool)  { return (*body)(b).Buffered() }
func (b *linkBody) Trailers() exchange.Fields { return (*body)(b).Trailers() }
func (b *linkBody) Stop()                     { (*body)(b).Stop() }

// Release ends the exchange. The link goes back to its pool only if the answer was read to its end,
// nothing is left over behind it, and neither side asked to close.
func (l *Link) Release() {
	whole := l.body.finish() && l.body.kind != untilClose && !l.resp.close
	clean := len(l.src.pending()) == 0
	l.src.release()
	if !whole || !clean || l.single {
		l.Close()
		return
	}
	l.used = true
	l.sent = 0
	l.begun.Store(false)
	l.pool.put(l)
}

// Close breaks the link.
func (l *Link) Close() {
	l.unwatch()
	l.src.release()
	if l.begun.Load() {
		abandon(l.conn) // in the middle of an exchange
	} else {
		_ = l.conn.Close()
	}
	l.pool.open.Add(-1)
}

// Interrupt makes a blocked Send or Receive return with an error, from another goroutine. The link is
// of no use after.
func (l *Link) Interrupt() {
	l.src.read.stop()
	l.write.stop()
}

// Tunnel hands over the connection after a 101. The head that Receive returned is of no use after.
func (l *Link) Tunnel() (exchange.Tunnel, error) {
	l.resp = response{} // it points into a buffer that goes back
	t := &tunnel{conn: l.conn, src: &l.src, write: &l.write, count: &l.sent}
	return t, t.unguard()
}

// fresh reports whether a link that lay idle can be used.
func (l *Link) fresh(now time.Time) bool {
	return now.Sub(l.since) <= l.pool.cfg.Idle && !l.src.read.stopped.Load() && l.src.quiet() &&
		(l.src.secured == nil || l.src.secured.still())
}

// ErrDial is an endpoint that could not be connected to: nothing was sent.
var ErrDial = errors.New("connect")

func dialError(addr string, err error) error { return fmt.Errorf("%w to %s: %w", ErrDial, addr, err) }

// Skip reads over an answer's body that has arrived whole.
func (l *Link) Skip() {
	for {
		if _, err := l.body.Next(); err != nil {
			return
		}
	}
}
