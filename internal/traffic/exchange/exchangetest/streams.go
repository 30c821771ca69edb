package exchangetest

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// pour writes n bytes in pieces until that fails, and counts what went.
func pour(s Stream, f *flow, n int) error {
	p := make([]byte, 64<<10)
	for range n / len(p) {
		if err := s.Write(p); err != nil {
			return err
		}
		f.sent.Add(int64(len(p)))
	}
	return s.End()
}

// testWindow pulls a body in two goes: between them its sender gets as far as the window, and no further.
func testWindow(t *testing.T, open Open, can Can) {
	var f flow
	part, whole := make(chan struct{}), make(chan struct{})
	pulledPart := make(chan struct{})
	h := serve(func(x *exchange.Exchange) {
		<-part
		n := 0
		for n < plenty/4 {
			p, err := x.Body.Next()
			if err != nil {
				t.Errorf("after %d bytes: %v", n, err)
				break
			}
			n += len(p)
		}
		close(pulledPart)
		<-whole
		rest, err := pull(x.Body)
		_ = answer(x, 200, fmt.Sprint(n+len(rest), err))
	})
	s := open(t, h).Start(Request{Method: "POST", Target: "/", Length: plenty})
	sent := make(chan error, 1)
	go func() { sent <- pour(s, &f, plenty) }()
	first := f.stand()
	if first > can.window() {
		t.Errorf("%d bytes were taken before anything was pulled, want at most %d", first, can.window())
	}
	close(part)
	within(t, pulledPart, "a quarter was not pulled")
	if second := f.stand(); second < plenty/4 || second > plenty/4+can.window() {
		t.Errorf("%d bytes were taken when %d were pulled", second, plenty/4)
	}
	close(whole)
	expect(t, s, 200, fmt.Sprint(plenty, nil))
	if err := within(t, sent, "the body was not sent"); err != nil {
		t.Errorf("send body: %v", err)
	}
}

// testCancelledAnswer gives an exchange up while its answer comes.
func testCancelledAnswer(t *testing.T, open Open, can Can) {
	got := make(chan error, 1)
	h := serve(func(x *exchange.Exchange) {
		if string(x.Request.Path) != "/endless" {
			_ = answer(x, 200, "fine")
			return
		}
		head := exchange.Head{Status: 200, Length: exchange.Unknown}
		err := x.Answer.Start(&head)
		for p := make([]byte, 16<<10); err == nil; {
			err = x.Answer.Write(p, false)
		}
		got <- err
	})
	c := open(t, h)
	s := c.Start(Request{Method: "GET", Target: "/endless"})
	if _, err := s.Answer(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, make([]byte, 1<<10)); err != nil {
		t.Fatal(err)
	}
	s.Cancel()
	if err := within(t, got, "the answer to nobody did not end"); !errors.Is(err, exchange.ErrClientGone) {
		t.Errorf("an answer that was given up ended in %v, want ErrClientGone", err)
	}
	h.wait(t)
	if can.Reset {
		expect(t, c.Start(Request{Method: "GET", Target: "/"}), 200, "fine")
	}
}

// testGivenUp has the handler give up an exchange in the middle of both bodies.
func testGivenUp(t *testing.T, open Open, can Can) {
	h := serve(func(x *exchange.Exchange) {
		if string(x.Request.Path) != "/given-up" {
			_ = answer(x, 200, "fine")
			return
		}
		head := exchange.Head{Status: 200, Length: exchange.Unknown}
		_, err := x.Body.Next()
		if err := errors.Join(err, x.Answer.Start(&head), x.Answer.Write([]byte("half"), true), x.Answer.Flush()); err != nil {
			t.Errorf("the first half: %v", err)
		}
		x.Body.Stop()
	})
	c := open(t, h)
	s := c.Start(Request{Method: "POST", Target: "/given-up", Length: plenty})
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_ = pour(s, new(flow), plenty)
	}()
	broken(t, s)
	within(t, sent, "an upload that nobody wants did not end")
	h.wait(t)
	if can.Reset {
		expect(t, c.Start(Request{Method: "GET", Target: "/"}), 200, "fine")
	}
}

// testStreams carries many exchanges at a time, of which one is not pulled and one is not read.
func testStreams(t *testing.T, open Open, can Can) {
	release := make(chan struct{})
	h := serve(func(x *exchange.Exchange) {
		switch string(x.Request.Path) {
		case "/unpulled":
			<-release
			b, err := pull(x.Body)
			_ = answer(x, 200, fmt.Sprint(len(b), err))
		case "/unread":
			_ = answer(x, 200, string(make([]byte, plenty)))
		default:
			b, _ := pull(x.Body)
			_ = answer(x, 200, string(x.Request.Path)+" "+string(b))
		}
	})
	c := open(t, h)
	var f flow
	unpulled, sent := c.Start(Request{Method: "POST", Target: "/unpulled", Length: plenty}), make(chan error, 1)
	go func() { sent <- pour(unpulled, &f, plenty) }()
	unread := c.Start(Request{Method: "GET", Target: "/unread"})
	if _, err := unread.Answer(); err != nil {
		t.Fatal(err)
	}
	if n := f.stand(); n > can.window() {
		t.Errorf("%d bytes were taken that nobody pulls", n)
	}
	var beside []Stream
	for i := range 10 {
		s := c.Start(Request{Method: "POST", Target: fmt.Sprintf("/%d", i), Length: 3})
		beside = append(beside, s)
	}
	for i, s := range beside {
		if err := errors.Join(s.Write([]byte("abc")), s.End()); err != nil {
			t.Fatal(err)
		}
		expect(t, s, 200, fmt.Sprintf("/%d abc", i))
	}
	close(release)
	expect(t, unpulled, 200, fmt.Sprint(plenty, nil))
	if err := within(t, sent, "the body was not sent"); err != nil {
		t.Errorf("send body: %v", err)
	}
	if n, err := io.Copy(io.Discard, unread); n != plenty || err != nil {
		t.Errorf("read %d, %v of the answer that waited", n, err)
	}
}
