package proxy

import (
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/websocket"
)

// direction is one of a tunnel's two. Its payload goes on as it came, in the pieces that were read.
type direction struct {
	t        *tunnel
	from, to exchange.Tunnel
	other    *direction
	sender   websocket.Sender
	frames   websocket.Scanner
	// shut says that a close frame went to the far end, the sender's own or ours: nothing follows it.
	shut atomic.Bool
	// lost says that nobody knows any more where the sender's frames begin.
	lost bool
	// quiet is when to look whether the tunnel has been idle.
	quiet int64
}

// contained runs, and breaks both ends if that panics: the other direction must not outlive it.
func (d *direction) contained() (p *panicked) {
	defer func() {
		if v := recover(); v != nil {
			p = newPanicked("a tunnel", v)
			d.t.abort()
		}
	}()
	if !d.run() {
		d.t.abort()
	}
	return nil
}

// run carries until the sender is done, and reports whether that was in order: the other direction may go
// on then.
func (d *direction) run() (orderly bool) {
	if d.t.client.Draining() {
		d.t.leave(websocket.GoingAway) // it began before there was a tunnel to tell
	}
	for {
		if err := d.say(); err != nil {
			return false
		}
		if d.answered() {
			return true
		}
		d.from.Until(d.until())
		p, err := d.from.Next()
		switch {
		case err == nil:
			err = d.carry(p)
		case isTimeout(err):
			err = nil
			if d.t.due() {
				return false
			}
		}
		if isEOF(err) {
			d.t.endWithin(halfTime)
			return d.to.CloseWrite() == nil
		}
		if err != nil {
			return false
		}
	}
}

// answered reports whether a client has said and heard that it is over. It is for us to close then; an
// endpoint closes by itself.
func (d *direction) answered() bool {
	return d.sender == websocket.Client && d.frames.Closed() && d.other.shut.Load()
}

// until is when to look up from reading; zero for never.
func (d *direction) until() time.Time {
	t := d.t
	by := t.endBy.Load()
	if t.status.Load() == 0 {
		by = sooner(by, t.leaveBy.Load())
		if t.idle > 0 {
			if d.quiet <= t.now() {
				d.quiet = t.active.Load() + int64(t.idle) // not at each read: that costs more than looking now and then
			}
			by = sooner(by, d.quiet)
		}
	}
	if by == 0 {
		return time.Time{}
	}
	return t.began.Add(time.Duration(by))
}

// sooner is the lesser of two times, of which 0 is none.
func sooner(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// carry passes a piece on, frame by frame as far as it is known what they are.
func (d *direction) carry(p []byte) error {
	if d.t.idle > 0 {
		d.t.active.Store(d.t.now())
	}
	for len(p) > 0 && !d.lost && !d.frames.Closed() {
		piece, fault := d.frames.Scan(p, d.t.status.Load() != 0 && !d.shut.Load())
		if !d.shut.Load() {
			if err := d.pass(piece.Lead, p[:piece.Pass]); err != nil {
				return err
			}
			if d.frames.Closed() {
				d.shutDown()
			}
		}
		if fault != nil {
			d.lost = true
			d.t.fault.CompareAndSwap(nil, &frameFault{d.sender, fault})
			d.t.leave(websocket.ProtocolError)
		}
		if err := d.say(); err != nil {
			return err
		}
		p = p[piece.Used:]
	}
	return nil // what is behind a close frame, or a fault, has no meaning
}

func (d *direction) pass(lead, p []byte) error {
	if len(lead) > 0 {
		if _, err := d.to.Write(lead); err != nil {
			return err
		}
	}
	if len(p) == 0 {
		return nil
	}
	_, err := d.to.Write(p)
	return err
}

// say sends a close frame of ours if there is to be one, at a border.
func (d *direction) say() error {
	status := d.t.status.Load()
	if status == 0 || d.shut.Load() || !d.frames.Border() {
		return nil
	}
	var room [8]byte
	if _, err := d.to.Write(websocket.AppendClose(room[:0], d.sender, uint16(status))); err != nil {
		return err
	}
	d.shutDown()
	return nil
}

// shutDown notes that a close frame went to the far end. When both ends have one they have a short time to
// answer and to go; while only one has, the other may finish what it says.
func (d *direction) shutDown() {
	d.shut.Store(true)
	if d.other.shut.Load() {
		d.t.endWithin(answerTime)
	} else {
		d.t.endWithin(halfTime)
	}
	d.to.Wake() // it may have answered already
}
