package http1

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// Tunnel implements exchange.Answer.
func (a *answer) Tunnel(h *exchange.Head) (exchange.Tunnel, error) {
	if a.started {
		return nil, errAnswerTwice
	}
	a.started, a.ended, a.tunneled, a.status, a.keep = true, true, true, h.Status, false
	b := a.borrow()
	b = appendStatusLine(b, h.Status, h.Reason)
	b = appendAnswerFields(b, h, false)
	b = appendField(b, requestIDName, a.s.x.Request.ID)
	b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"...)
	if err := a.flushAll(b); err != nil {
		return nil, err
	}
	a.s.x.Record.Upgraded = true
	// The tunnel gives its buffer back while it is silent, and nothing may hold on to it.
	a.s.x.Request.Detach()
	a.s.req = request{}
	t := &tunnel{conn: a.c.conn, src: &a.c.src, write: &a.c.write, count: &a.count, draining: a.c.draining}
	a.c.tunnel.Store(t) // before it first asks whether the connection is draining
	return t, t.unguard()
}

// tunnel is either end of an upgraded connection. While it is silent it holds no buffer.
type tunnel struct {
	conn  net.Conn
	src   *source
	write *deadline
	held  int
	count *int64
	// draining is that of the client's connection; nil for an endpoint's.
	draining func() bool

	// until is what Until was told, armed the deadline that is set now, and moved says that it is another
	// one than that: Wake has set it, or may do so yet.
	until, armed time.Time
	moved        bool
	woken        atomic.Bool
}

// unguard takes the deadlines off a connection: a tunnel may be silent for as long as its ends like.
func (t *tunnel) unguard() error {
	t.src.read.until, t.write.until = time.Time{}, time.Time{}
	return errors.Join(t.src.read.move(time.Time{}), t.write.move(time.Time{}))
}

// Next implements exchange.Tunnel.
func (t *tunnel) Next() ([]byte, error) {
	t.src.consume(t.held)
	t.held = 0
	if t.woken.Swap(false) {
		t.moved = true
		return nil, os.ErrDeadlineExceeded
	}
	if len(t.src.pending()) == 0 {
		if err := t.fill(); err != nil {
			return nil, t.fault(err)
		}
	}
	t.held = len(t.src.pending())
	return t.src.pending(), nil
}

// fault says what the end of a read means.
func (t *tunnel) fault(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return io.EOF
	case isTimeout(err) && !t.src.read.stopped.Load():
		t.moved = true
		return os.ErrDeadlineExceeded
	}
	return exchange.ErrClientGone
}

// fill waits for more. What can only wait by reading a byte keeps its buffer for a while after bytes
// came, or it would read every one of them by itself.
func (t *tunnel) fill() error {
	if t.src.raw == nil && t.src.looped == nil && t.src.buf != nil {
		t.src.base, t.src.r, t.src.w = 0, 0, 0
		err := t.arm(t.hold(time.Now()))
		if err == nil {
			err = t.src.fill()
		}
		if !isTimeout(err) {
			return err
		}
		t.moved = true
	}
	if err := t.arm(t.until); err != nil {
		return err
	}
	t.src.unpin()
	return t.src.fill()
}

// hold is when a buffer goes back that was kept: it is moved only when a quarter of the time is used up.
func (t *tunnel) hold(now time.Time) time.Time {
	at := now.Add(holdTime + holdTime/4)
	if left := t.armed.Sub(now); left >= holdTime && left <= holdTime+holdTime/4 {
		at = t.armed
	}
	if !t.until.IsZero() && t.until.Before(at) {
		at = t.until
	}
	return at
}

// arm sets the deadline of the next read, unless somebody woke the tunnel: whoever does so from here on
// does it behind this deadline.
func (t *tunnel) arm(at time.Time) error {
	if t.moved || !at.Equal(t.armed) {
		t.armed, t.moved = at, false
		if err := t.src.read.move(at); err != nil {
			return err
		}
	}
	if t.woken.Swap(false) {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Until implements exchange.Tunnel.
func (t *tunnel) Until(at time.Time) { t.until = at }

// Wake implements exchange.Tunnel.
func (t *tunnel) Wake() {
	t.woken.Store(true)
	_ = t.src.read.set(time.Unix(1, 0))
}

// WriteUntil implements exchange.Tunnel.
func (t *tunnel) WriteUntil(at time.Time) error { return t.write.move(at) }

// Draining implements exchange.Tunnel.
func (t *tunnel) Draining() bool { return t.draining != nil && t.draining() }

// Write implements exchange.Tunnel.
func (t *tunnel) Write(p []byte) (int, error) {
	*t.count += int64(len(p))
	return t.conn.Write(p)
}

// CloseWrite implements exchange.Tunnel.
func (t *tunnel) CloseWrite() error {
	if half, ok := t.conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return t.conn.Close()
}

// Abort implements exchange.Tunnel.
func (t *tunnel) Abort() { abandon(t.conn) }
