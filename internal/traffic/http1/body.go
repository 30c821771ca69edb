package http1

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// body pulls a message's body off a source: a request's or an answer's.
type body struct {
	src      *source
	lim      *Limits
	bounds   *exchange.Bounds
	began    time.Time // when the ceiling of bounds began to count
	pace     exchange.Pace
	left     int64 // of the body, or of the chunk
	held     int   // bytes of the piece handed out last
	ext      int   // bytes of chunk extensions so far
	kind     bodyKind
	chunk    chunkState
	done     bool
	err      error
	trailers exchange.Fields
	count    int64
	peeked   int64 // bytes that Buffered showed, which may have gone on unread
	// expecting is the answer that tells a waiting client to go on, before the first read that waits.
	expecting *answer
	// flush is sent before each read that waits: what is held back must not wait for what comes next.
	flush exchange.Answer
}

type bodyKind uint8

const (
	noBody bodyKind = iota
	sized
	chunked
	untilClose
)

// start readies b for a message whose head said fr. The bounds are looked at when something is read: until
// then they may be changed.
func (b *body) start(src *source, fr *framing, lim *Limits, bounds *exchange.Bounds) {
	*b = body{src: src, lim: lim, bounds: bounds, trailers: b.trailers[:0]}
	switch {
	case fr.chunked:
		b.kind = chunked
	case fr.length == exchange.Unknown:
		b.kind = untilClose
	case fr.length > 0:
		b.kind, b.left = sized, fr.length
	default:
		b.done = true
	}
}

// Next implements exchange.Body.
func (b *body) Next() ([]byte, error) {
	b.src.consume(b.held)
	b.held = 0
	if b.err != nil {
		return nil, b.err
	}
	if b.done {
		return nil, io.EOF
	}
	p, err := b.next()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			b.err = err
		}
		return nil, err
	}
	b.held = len(p)
	b.count += int64(len(p))
	return p, nil
}

func (b *body) next() ([]byte, error) {
	if b.kind == chunked {
		if err := b.toData(); err != nil {
			return nil, err
		}
	}
	if !b.bounds.Admits(b.count + b.left) {
		return nil, exchange.ErrBodyTooLarge
	}
	p, err := b.available()
	if err != nil {
		if b.kind == untilClose && errors.Is(err, io.EOF) {
			b.done = true
		} else if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if b.kind == untilClose {
		return p, nil
	}
	p = p[:min(int64(len(p)), b.left)]
	b.left -= int64(len(p))
	if b.left == 0 && b.kind == sized {
		b.done = true
	}
	return p, nil
}

// available returns the pending bytes, and waits for some if there are none.
func (b *body) available() ([]byte, error) {
	if len(b.src.pending()) == 0 {
		if err := b.wait(); err != nil {
			return nil, err
		}
	}
	return b.src.pending(), nil
}

// wait reads more. The deadline moves with each read that brings something: progress is what counts.
func (b *body) wait() error {
	if a := b.expecting; a != nil {
		b.expecting = nil
		if err := a.goOn(); err != nil {
			return err
		}
	}
	if b.flush != nil {
		if err := b.flush.Flush(); err != nil {
			return err
		}
	}
	now := time.Now()
	after, err := b.patience(now)
	if err != nil {
		return err
	}
	if err := b.src.read.keep(now, after); err != nil {
		return err
	}
	had := len(b.src.pending())
	err = b.src.fill()
	if b.bounds.Rate > 0 || err != nil {
		return b.waited(now, len(b.src.pending())-had, err)
	}
	return nil
}

// patience returns how long the sender may be waited for now.
func (b *body) patience(now time.Time) (time.Duration, error) {
	after := b.bounds.Idle
	if b.bounds.Rate > 0 && after > 0 {
		if after = b.pace.Left(b.bounds); after <= 0 {
			return 0, exchange.ErrBodySlow
		}
	}
	if b.bounds.Ceiling <= 0 {
		return after, nil
	}
	left := b.bounds.Ceiling - now.Sub(b.began)
	if left <= 0 {
		return 0, exchange.ErrBodyLong
	}
	if after <= 0 {
		return left, nil
	}
	return min(after, left), nil
}

// waited notes what a wait brought, and names the bound that ended it.
func (b *body) waited(since time.Time, n int, err error) error {
	now := time.Now()
	b.pace.Waited(b.bounds, now.Sub(since), n)
	if !isTimeout(err) || b.src.read.stopped.Load() || now.Sub(since) >= b.bounds.Idle && b.bounds.Idle > 0 {
		return err
	}
	if _, out := b.patience(now); out != nil {
		return out
	}
	return err
}

// Buffered implements exchange.Body. It hands out no piece of a chunked body: its end is not known
// without reading on.
func (b *body) Buffered() ([]byte, bool) {
	if b.done {
		return nil, true
	}
	if b.kind != sized || b.held > 0 || b.err != nil {
		return nil, false
	}
	p := b.src.pending()
	p = p[:min(int64(len(p)), b.left)]
	b.peeked = int64(len(p))
	return p, int64(len(p)) == b.left
}

// Trailers implements exchange.Body.
func (b *body) Trailers() exchange.Fields { return b.trailers }

// Stop implements exchange.Body.
func (b *body) Stop() { b.src.read.stop() }

// finish drops the rest of the piece handed out last, and reports whether the message was read to its end.
func (b *body) finish() bool {
	b.src.consume(b.held)
	b.held = 0
	return b.done && b.err == nil
}

// discard reads on to the end of the message, up to a bound, and reports whether it got there.
func (b *body) discard(limit int64) bool {
	for limit > 0 {
		p, err := b.Next()
		if errors.Is(err, io.EOF) && b.done {
			return true
		}
		if err != nil {
			return false
		}
		limit -= int64(len(p))
	}
	return false
}

// isTimeout reports whether err is a deadline that passed.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
