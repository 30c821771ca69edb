package proxy

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
)

// send writes the request. What of the body has arrived goes with the head, in one write; if that is
// not all, the rest goes in an upload beside the wait for the answer, which may come early.
func (a *attempt) send(link *http1.Link) (*upload, error) {
	r := &a.x.Request
	buffer := a.p.cfg.Links.Buffers.Borrow()
	defer a.p.cfg.Links.Buffers.Return(buffer)
	fwd := http1.Forward{Front: a.m.Front, Path: a.m.Path, Host: a.host(), Prefix: a.m.Prefix}
	link.SetStall(a.m.Route.Policy.Idle)
	head := http1.AppendRequest((*buffer)[:0], r, &fwd)
	piece, whole := a.x.Body.Buffered()
	if whole && len(head)+len(piece) <= cap(head) {
		return nil, link.Send(append(head, piece...))
	}
	if err := link.Send(head); err != nil {
		return nil, err
	}
	if whole {
		return nil, link.Send(piece)
	}
	a.x.Carrier.Leave() // two goroutines from here on
	up := &upload{body: a.x.Body, link: link, chunked: r.Length == exchange.Unknown, buffers: a.p.cfg.Links.Buffers, began: time.Now()}
	up.done.Add(1)
	go up.run()
	return up, nil
}

// upload sends a body on while the answer is awaited.
type upload struct {
	body    exchange.Body
	link    *http1.Link
	chunked bool
	buffers *http1.Buffers
	done    sync.WaitGroup
	began   time.Time
	ended   atomic.Int64 // nanoseconds after began; 0 while it goes on, broken when the client spoiled it
	stopped atomic.Bool  // by us: what the body says from then on is not the client's fault

	// after done
	fault    error // the client's: malformed, too slow, gone
	whole    bool  // all was sent
	panicked *panicked
}

func (u *upload) run() {
	defer u.done.Done()
	defer func() {
		if v := recover(); v != nil {
			u.panicked = newPanicked("an upload", v)
			u.ended.Store(broken)
			u.link.Interrupt()
		}
	}()
	defer func() { u.ended.CompareAndSwap(0, int64(max(time.Since(u.began), 1))) }()
	for {
		p, err := u.body.Next()
		if isEOF(err) {
			u.whole = u.finish() == nil
			return
		}
		if err != nil {
			if !u.stopped.Load() {
				u.fault = clientSide(err)
			}
			u.ended.Store(broken)
			u.link.Interrupt() // the endpoint must not wait for what never comes, nor we for it
			return
		}
		if err := u.piece(p); err != nil {
			return // the endpoint may have answered early and closed: the answer will tell
		}
	}
}

func (u *upload) piece(p []byte) error {
	if !u.chunked {
		return u.link.Send(p)
	}
	buffer := u.buffers.Borrow()
	defer u.buffers.Return(buffer)
	b := http1.AppendChunk((*buffer)[:0], len(p))
	if len(b)+len(p)+2 <= cap(b) {
		b = append(b, p...)
		return u.link.Send(append(b, '\r', '\n'))
	}
	if err := u.link.Send(b); err != nil {
		return err
	}
	if err := u.link.Send(p); err != nil {
		return err
	}
	return u.link.Send([]byte("\r\n"))
}

func (u *upload) finish() error {
	if !u.chunked {
		return nil
	}
	return u.link.Send(http1.AppendLastChunk(nil, u.body.Trailers()))
}

// broken is in upload.ended when no answer can be waited for any more.
const broken = -1

// wait returns how long an endpoint may still take to answer if it has perTry from when it was sent
// everything: what it has not got it cannot answer.
func (u *upload) wait(perTry time.Duration) time.Duration {
	switch ended := u.ended.Load(); ended {
	case 0:
		return perTry
	case broken:
		return 0
	default:
		return perTry + time.Duration(ended) - time.Since(u.began)
	}
}

// settleTime is how long an upload may go on after its answer was complete: an endpoint that read
// everything answers a moment before we have noted that everything was sent.
const settleTime = 50 * time.Millisecond

// settle ends the upload after the answer, and reports whether all was sent and both connections are
// as they were.
func (u *upload) settle() bool {
	var late sync.WaitGroup
	late.Add(1)
	t := time.AfterFunc(settleTime, func() { defer late.Done(); u.interrupt() })
	u.done.Wait()
	if t.Stop() {
		return u.whole
	}
	late.Wait() // not to interrupt the next exchange
	return false
}

// stop ends the upload at once.
func (u *upload) stop() {
	u.interrupt()
	u.done.Wait()
}

// rethrow goes on with a panic of the upload in the goroutine of the exchange, after stop or settle.
func (u *upload) rethrow() {
	if u.panicked != nil {
		panic(u.panicked)
	}
}

func (u *upload) interrupt() {
	u.stopped.Store(true)
	u.body.Stop()
	u.link.Interrupt()
}

// clientSide turns whatever broke the client's stream into a fault of the client.
func clientSide(err error) error {
	if isTimeout(err) {
		return exchange.ErrBodyStalled
	}
	return err
}
