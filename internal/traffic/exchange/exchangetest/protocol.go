package exchangetest

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// patience bounds each wait of the suite.
const patience = 10 * time.Second

// Can says what a protocol can do beyond HTTP/1.1. The parts that need it are left out where it is missing.
type Can struct {
	// Streams is several exchanges at a time on one connection: Start may be called while others go on.
	Streams bool
	// Reset is that either end may give up one exchange and keep the connection for the others.
	Reset bool
	// SizedTrailers is that trailers may follow a body of known length.
	SizedTrailers bool
	// Window is the most of a body that its sender may have sent beyond what was pulled; zero is what
	// sockets may hold.
	Window int64
}

// window is the most that may be on its way.
func (c Can) window() int64 {
	if c.Window > 0 {
		return c.Window
	}
	return inFlight
}

// TestProtocol runs the contract against connections that open makes, a fresh one for each part.
func TestProtocol(t *testing.T, open Open, can Can) {
	t.Helper()
	parts := []part{
		{"a request arrives as it was said", with(testHead)},
		{"a body of known length is pulled to its end", with(testSized)},
		{"a body of unknown length is pulled to its end", with(testUnknown)},
		{"a body that nobody pulls holds its sender back", with(testPulled)},
		{"what is pulled of a body lets its sender go on, and no further", testWindow},
		{"a body over its bound is refused", with(testBodyBound)},
		{"an answer may come before the body was read", with(testEarly)},
		{"a client that says nothing more comes is answered", with(testHalfClose)},
		{"an upload that is cancelled ends in an error", with(testCancelled)},
		{"a client that waits is told to go on when its body is pulled", with(testContinue)},
		{"a client that waits is not told to go on when its body is not wanted", with(testNoContinue)},
		{"a client that was answered is not told to go on", with(testLateContinue)},
		{"interim answers pass", with(testInterim)},
		{"interim answers pass between the pieces of a body", with(testInterleaved)},
		{"interim answers pass beside a body that is waited for", with(testInterimBesideUpload)},
		{"both bodies go on at the same time", with(testEcho)},
		{"trailers need not be announced, and those that would frame are dropped", with(testUndeclared)},
		{"an answer that is given up ends in an error", testCancelledAnswer},
		{"an exchange that its handler gives up is seen to be cut", testGivenUp},
		{"trailers pass both ways", with(testTrailers)},
		{"trailers are kept from a client that takes none", with(testNoTrailers)},
		{"the answer to HEAD has a length and no body", with(testNoBody)},
		{"an answer without a length is whole at its end", with(testUnknownAnswer)},
		{"an answer is whole in many pieces", with(testPieces)},
		{"a client that does not read holds the answer back", with(testSlowReader)},
		{"what is held back is sent on flush", with(testFlush)},
		{"a stopped body ends a wait", with(testStop)},
		{"an answer that is too short is seen to be cut", with(testShort)},
		{"an answer that is not ended is seen to be cut", with(testNotEnded)},
		{"an answer that is longer than its length is an error", with(testLong)},
		{"an answer is started once", with(testTwice)},
		{"a handler that panics ends its exchange only", with(testPanic)},
		{"a client that leaves is an error of the write", with(testGone)},
		{"a tunnel carries both ways and closes each by itself", with(testTunnel)},
		{"a tunnel that is aborted breaks", with(testTunnelAbort)},
		{"exchanges follow each other", with(testSequence)},
	}
	if can.SizedTrailers {
		parts = append(parts, part{"trailers follow a body of known length", with(testSizedTrailers)})
	}
	if can.Streams {
		parts = append(parts, part{"exchanges beside each other do not wait for each other", testStreams})
	}
	for _, c := range parts {
		t.Run(c.name, func(t *testing.T) { c.test(t, open, can) })
	}
}

// part is one part of the contract.
type part struct {
	name string
	test func(*testing.T, Open, Can)
}

// with makes a part's test of one that needs nothing beyond HTTP/1.1.
func with(test func(*testing.T, Open)) func(*testing.T, Open, Can) {
	return func(t *testing.T, open Open, _ Can) {
		t.Helper()
		test(t, open)
	}
}

// handler runs a function for each exchange and tells when it returned.
type handler struct {
	f    func(ctx context.Context, x *exchange.Exchange)
	done chan struct{}
}

// ServeExchange implements exchange.Handler.
func (h *handler) ServeExchange(ctx context.Context, x *exchange.Exchange) {
	defer func() { h.done <- struct{}{} }()
	h.f(ctx, x)
}

func serve(f func(x *exchange.Exchange)) *handler {
	return &handler{f: func(_ context.Context, x *exchange.Exchange) { f(x) }, done: make(chan struct{}, 64)}
}

// wait waits for the handler to return.
func (h *handler) wait(t *testing.T) {
	t.Helper()
	within(t, h.done, "the handler did not return")
}

func within[T any](t *testing.T, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatalf("%s within %v", what, patience)
	}
	return v
}

// answer gives a whole answer.
func answer(x *exchange.Exchange, status int, body string) error {
	h := exchange.Head{Status: status, Length: int64(len(body))}
	return errors.Join(x.Answer.Start(&h), x.Answer.Write([]byte(body), true), x.Answer.End(nil))
}

// pull reads a body to its end.
func pull(b exchange.Body) ([]byte, error) {
	var all []byte
	for {
		p, err := b.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, p...)
	}
}

// expect reads an answer to its end and checks it.
func expect(t *testing.T, s Stream, status int, body string) Answer {
	t.Helper()
	type result struct {
		head Answer
		body []byte
		err  error
	}
	ch := make(chan result, 1)
	go func() {
		var r result
		if r.head, r.err = s.Answer(); r.err == nil {
			r.body, r.err = io.ReadAll(s)
		}
		ch <- r
	}()
	r := within(t, ch, "no answer")
	if r.err != nil || r.head.Status != status || string(r.body) != body {
		t.Fatalf("answer is %d, %.80q, %v; want %d, %.80q", r.head.Status, r.body, r.err, status, body)
	}
	return r.head
}

// broken reads an answer and wants it to break.
func broken(t *testing.T, s Stream) {
	t.Helper()
	ch := make(chan error, 1)
	go func() {
		_, err := s.Answer()
		if err == nil {
			_, err = io.Copy(io.Discard, s)
		}
		ch <- err
	}()
	if err := within(t, ch, "the answer neither ended nor broke"); err == nil {
		t.Error("the answer looks whole")
	}
}

// flow counts what one end sent and the other took, and waits until the sender stands still.
type flow struct{ sent atomic.Int64 }

// stand returns how far the sender got once it has got no further for a while.
func (f *flow) stand() int64 {
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for last, still := int64(-1), 0; ; {
		<-tick.C
		if n := f.sent.Load(); n != last {
			last, still = n, 0
		} else if still++; still == 3 {
			return last
		}
	}
}

// plenty is more than any protocol buffers on the way.
const plenty = 48 << 20

// inFlight is the most that may be on the way when nobody takes anything: sockets' buffers and ours.
const inFlight = 24 << 20
