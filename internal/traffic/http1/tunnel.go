package http1

import (
	"errors"
	"io"
	"net"
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
	a.s.x.Request.Detach() // the tunnel gives its buffer back while it is silent
	return &tunnel{conn: a.c.conn, src: &a.c.src, count: &a.count}, unguard(a.c.conn, &a.c.src, &a.c.write)
}

// unguard takes the deadlines off a connection: a tunnel may be silent for as long as its ends like.
func unguard(conn net.Conn, src *source, write *deadline) error {
	src.read.until, write.until = time.Time{}, time.Time{}
	return conn.SetDeadline(time.Time{})
}

// tunnel is either end of an upgraded connection. While it is silent it holds no buffer.
type tunnel struct {
	conn  net.Conn
	src   *source
	held  int
	count *int64
}

// Next implements exchange.Tunnel.
func (t *tunnel) Next() ([]byte, error) {
	t.src.consume(t.held)
	t.held = 0
	if len(t.src.pending()) == 0 {
		if err := t.fill(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil, io.EOF
			}
			return nil, exchange.ErrClientGone
		}
	}
	t.held = len(t.src.pending())
	return t.src.pending(), nil
}

// fill waits for more. What can only wait by reading a byte keeps its buffer for a while after bytes
// came, or it would read every one of them by itself.
func (t *tunnel) fill() error {
	if t.src.raw == nil && t.src.buf != nil {
		t.src.base, t.src.r, t.src.w = 0, 0, 0
		err := t.src.read.keep(time.Now(), holdTime)
		if err == nil {
			err = t.src.fill()
		}
		if !isTimeout(err) {
			return err
		}
		if err := t.src.read.clear(); err != nil {
			return err
		}
	}
	t.src.unpin()
	return t.src.fill()
}

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
func (t *tunnel) Abort() { _ = t.conn.Close() }
