package http1

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// answer writes one answer. Its head waits in a buffer for the first piece of the body, so that both
// leave in one write.
type answer struct {
	c   *Conn
	s   *session
	out *[]byte // borrowed; what waits to be written

	pace      exchange.Pace
	wrote     bool // something went out: from then on the client's pace counts
	mode      answerMode
	left      int64
	count     int64
	status    int
	keep      bool
	oldClient bool // HTTP/1.0
	head      bool // the request was HEAD
	started   bool
	ended     bool
	tunneled  bool

	// A client that waits to be told to send its body is told from the goroutine that reads the body,
	// and an answer may come early from another: one of the two goes first.
	early    sync.Mutex
	answered bool // guarded by early
	told     bool // guarded by early
}

type answerMode uint8

const (
	answerEmpty answerMode = iota
	answerSized
	answerChunked
	answerUntilClose
)

var (
	errAnswerTwice = errors.New("http1: an answer was started twice")
	errAnswerLong  = errors.New("http1: an answer's body is longer than its length")
	errAnswerShort = errors.New("http1: an answer's body is shorter than its length")
)

func (a *answer) start(c *Conn, s *session) {
	a.c, a.s, a.out, a.mode, a.left, a.count, a.status = c, s, nil, answerEmpty, 0, 0, 0
	a.keep, a.oldClient, a.head, a.started, a.ended, a.tunneled = false, false, false, false, false, false
	a.answered, a.told = false, false
	a.pace, a.wrote = exchange.Pace{}, false
}

// Started implements exchange.Answer.
func (a *answer) Started() bool { return a.started }

// Alive implements exchange.Answer.
func (a *answer) Alive() bool { return !a.c.src.broken() }

// goOn tells a client that waits for it to send its body.
func (a *answer) goOn() error {
	a.early.Lock()
	defer a.early.Unlock()
	if a.answered {
		return nil // an answer came early: the client has seen that first
	}
	a.told = true
	return a.writeNow([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
}

// Interim implements exchange.Answer. 100 is not passed on: this hop says it by itself when the body
// is wanted. Clients of HTTP/1.0 get none.
func (a *answer) Interim(status int, f exchange.Fields) error {
	if a.started || a.oldClient || status == 100 || status == 101 {
		return nil
	}
	if a.s.req.expect { // the upload's goroutine may be telling the client to go on
		a.early.Lock()
		defer a.early.Unlock()
	}
	b := a.borrow()
	b = appendStatusLine(b, status, nil)
	for i := range f {
		if f[i].Kind == exchange.Plain {
			b = appendField(b, f[i].Name, f[i].Value)
		}
	}
	b = append(b, "\r\n"...)
	return a.flushAll(b)
}

// Start implements exchange.Answer.
func (a *answer) Start(h *exchange.Head) error {
	if a.started {
		return errAnswerTwice
	}
	a.started, a.status = true, h.Status
	a.decideFraming(h)
	b := a.borrow()
	b = appendStatusLine(b, h.Status, h.Reason)
	b = appendAnswerFields(b, h, a.mode == answerChunked && a.s.req.Trailers)
	b = a.appendOwnFields(b, h)
	a.hold(b)
	return nil
}

// decideFraming settles how the body will be delimited, and whether the connection can go on after.
func (a *answer) decideFraming(h *exchange.Head) {
	switch {
	case h.Bodiless || a.head || h.Status == 204 || h.Status == 304:
		a.mode = answerEmpty
	case h.Length != exchange.Unknown:
		a.mode, a.left = answerSized, h.Length
	case a.oldClient:
		a.mode, a.keep = answerUntilClose, false
	default:
		a.mode = answerChunked
	}
	if h.Close || a.c.draining() {
		a.keep = false
	}
	if a.s.req.expect {
		a.early.Lock()
		a.answered = true
		a.keep = a.keep && a.told // one that was never told to send may do so or not
		a.early.Unlock()
	}
}

func (a *answer) appendOwnFields(b []byte, h *exchange.Head) []byte {
	if _, ok := h.Fields.Find(exchange.Date); !ok {
		b = append(b, "Date: "...)
		b = a.s.x.Request.Received.UTC().AppendFormat(b, dateFormat)
		b = append(b, "\r\n"...)
	}
	b = appendField(b, requestIDName, a.s.x.Request.ID)
	switch {
	case a.mode == answerChunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case a.mode == answerUntilClose, h.Length == exchange.Unknown, h.Status == 204, h.Status < 200:
	default:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, h.Length, 10)
		b = append(b, "\r\n"...)
	}
	switch {
	case !a.keep:
		b = append(b, "Connection: close\r\n"...)
	case a.oldClient:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	return append(b, "\r\n"...)
}

const dateFormat = "Mon, 02 Jan 2006 15:04:05 GMT"

var requestIDName = []byte("X-Request-Id")

// Write implements exchange.Answer.
func (a *answer) Write(p []byte, last bool) error {
	if len(p) == 0 {
		return nil
	}
	a.count += int64(len(p))
	switch a.mode {
	case answerEmpty:
		a.count = 0
		return nil
	case answerSized:
		if int64(len(p)) > a.left {
			return errAnswerLong
		}
		a.left -= int64(len(p))
	case answerChunked:
		return a.writeChunk(p, last)
	case answerUntilClose:
	}
	if a.out == nil {
		return a.writeNow(p)
	}
	return a.append(p, last)
}

func (a *answer) writeChunk(p []byte, last bool) error {
	b := a.borrow()
	b = strconv.AppendInt(b, int64(len(p)), 16)
	b = append(b, "\r\n"...)
	a.hold(b)
	if err := a.append(p, true); err != nil {
		return err
	}
	return a.append(crlf, last)
}

var crlf = []byte("\r\n")

// append puts p behind what is held, writing whenever the buffer is full, and at the end unless more
// is about to come.
func (a *answer) append(p []byte, hold bool) error {
	for {
		b := a.borrow()
		n := min(len(p), cap(b)-len(b))
		b = append(b, p[:n]...)
		if p = p[n:]; len(p) == 0 {
			if hold && len(b) < cap(b) {
				a.hold(b)
				return nil
			}
			return a.flushAll(b)
		}
		if err := a.flushAll(b); err != nil {
			return err
		}
	}
}

// Flush implements exchange.Answer.
func (a *answer) Flush() error {
	if a.out == nil {
		return nil
	}
	return a.flushAll(*a.out)
}

// End implements exchange.Answer.
func (a *answer) End(trailers exchange.Fields) error {
	if a.mode == answerSized && a.left > 0 {
		return errAnswerShort
	}
	if a.mode == answerChunked {
		b := a.borrow()
		b = append(b, "0\r\n"...)
		if a.s.req.Trailers {
			for i := range trailers {
				if trailers[i].Kind == exchange.Plain {
					b = appendField(b, trailers[i].Name, trailers[i].Value)
				}
			}
		}
		a.hold(append(b, "\r\n"...))
	}
	if err := a.Flush(); err != nil {
		return err
	}
	a.ended = true
	return nil
}

// borrow returns what is held, with room behind it.
func (a *answer) borrow() []byte {
	if a.out == nil {
		a.out = a.c.srv.Buffers.get()
		*a.out = (*a.out)[:0]
	}
	return *a.out
}

// hold keeps b for later. A head of unusual length has outgrown the buffer: then that is kept instead.
func (a *answer) hold(b []byte) { *a.out = b }

// flushAll writes b and gives the buffer back.
func (a *answer) flushAll(b []byte) error {
	err := a.writeNow(b)
	if cap(b) == bufferBytes {
		*a.out = b
		a.c.srv.Buffers.put(a.out)
	}
	a.out = nil
	return err
}

// writeNow writes all of p. What the system takes of it is progress, and a client that makes too little is
// given up. The first write of an answer seldom waits, and is not held against the client.
func (a *answer) writeNow(p []byte) error {
	bounds := &a.s.x.Bounds
	for {
		now, after := time.Now(), bounds.Idle
		if a.wrote && after > 0 {
			if after = a.pace.Left(bounds); after <= 0 {
				return errReadsSlowly
			}
		}
		if err := a.c.write.keep(now, after); err != nil {
			return exchange.ErrClientGone
		}
		n, err := a.c.conn.Write(p)
		if err == nil && !a.wrote {
			a.wrote = true
			return nil
		}
		if err != nil && (n == 0 || !isTimeout(err)) {
			return exchange.ErrClientGone
		}
		a.pace.Waited(bounds, time.Since(now), n)
		a.wrote = true
		if err == nil {
			return nil
		}
		p = p[n:]
	}
}

// errReadsSlowly is a client that does not keep the least rate.
var errReadsSlowly = fmt.Errorf("%w: it reads too slowly", exchange.ErrClientGone)

func appendStatusLine(b []byte, status int, reason []byte) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	if len(reason) > 0 {
		b = append(b, reason...)
	} else {
		b = append(b, exchange.StatusText(status)...)
	}
	return append(b, "\r\n"...)
}

func appendField(b, name, value []byte) []byte {
	b = append(b, name...)
	b = append(b, ':', ' ')
	b = append(b, value...)
	return append(b, '\r', '\n')
}

// appendAnswerFields appends the fields that pass to the client.
func appendAnswerFields(b []byte, h *exchange.Head, trailers bool) []byte {
	for i := range h.Fields {
		f := &h.Fields[i]
		switch f.Kind {
		case exchange.ContentLength, exchange.TransferEncoding, exchange.Connection, exchange.HopByHop,
			exchange.Upgrade, exchange.TE, exchange.RequestID:
			continue
		case exchange.Trailer:
			if !trailers {
				continue
			}
		default:
		}
		if nominated(h.Nominated, f.Name) {
			continue
		}
		b = appendField(b, f.Name, f.Value)
	}
	return b
}

func nominated(names [][]byte, name []byte) bool {
	for _, n := range names {
		if exchange.EqualFold(n, string(name)) {
			return true
		}
	}
	return false
}
