package exchangetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

func testHead(t *testing.T, open Open) {
	var got string
	h := serve(func(x *exchange.Exchange) {
		r := &x.Request
		got = fmt.Sprintf("%s %s ? %s %v host=%s id=%v trace=%v received=%v", r.Method, r.Path, r.Query, r.HasQuery, r.Host, len(r.ID) > 0, r.Trace.ID() != [16]byte{}, !r.Received.IsZero())
		for _, f := range r.Fields {
			if f.Kind == exchange.Plain {
				got += fmt.Sprintf(" [%s: %s]", f.Name, f.Value)
			}
		}
		if b, err := pull(x.Body); len(b) > 0 || err != nil {
			got += fmt.Sprintf(" body %q %v", b, err)
		}
		_ = answer(x, 200, "")
	})
	s := open(t, h).Start(Request{Method: "GET", Target: "/a//b/../c%2f?x=1;y", Fields: []Field{{"x-b", "1"}, {"x-a", "2"}, {"x-b", "3"}}})
	expect(t, s, 200, "")
	h.wait(t)
	if want := "GET /a/c%2F ? x=1;y true host=exchange.test id=true trace=true received=true [x-b: 1] [x-a: 2] [x-b: 3]"; got != want {
		t.Errorf("the handler saw\n%s, want\n%s", got, want)
	}
}

func testSized(t *testing.T, open Open) {
	body := bytes.Repeat([]byte("0123456789"), 20000)
	h := serve(func(x *exchange.Exchange) {
		b, err := pull(x.Body)
		_ = answer(x, 200, fmt.Sprint(len(b), bytes.Equal(b, body), err, x.Request.Length))
	})
	s := open(t, h).Start(Request{Method: "POST", Target: "/", Length: int64(len(body))})
	send(t, s, body)
	expect(t, s, 200, fmt.Sprint(len(body), true, nil, len(body)))
}

func testUnknown(t *testing.T, open Open) {
	body := bytes.Repeat([]byte("0123456789"), 20000)
	h := serve(func(x *exchange.Exchange) {
		b, err := pull(x.Body)
		_ = answer(x, 200, fmt.Sprint(len(b), bytes.Equal(b, body), err, x.Request.Length))
	})
	s := open(t, h).Start(Request{Method: "POST", Target: "/", Length: exchange.Unknown})
	send(t, s, body)
	expect(t, s, 200, fmt.Sprint(len(body), true, nil, exchange.Unknown))
}

// send sends a body in pieces of odd sizes from a goroutine of its own.
func send(t *testing.T, s Stream, body []byte) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		for n := 1; len(body) > 0; n = n*3 + 1 {
			p := body[:min(n, len(body))]
			body = body[len(p):]
			if err := s.Write(p); err != nil {
				done <- err
				return
			}
		}
		done <- s.End()
	}()
	t.Cleanup(func() {
		if err := within(t, done, "the body was not sent"); err != nil {
			t.Errorf("send body: %v", err)
		}
	})
}

func testPulled(t *testing.T, open Open) {
	var f flow
	release := make(chan struct{})
	h := serve(func(x *exchange.Exchange) {
		<-release
		b, err := pull(x.Body)
		_ = answer(x, 200, fmt.Sprint(len(b), err))
	})
	s := open(t, h).Start(Request{Method: "POST", Target: "/", Length: plenty})
	sent := make(chan error, 1)
	go func() {
		p := make([]byte, 64<<10)
		for range plenty / len(p) {
			if err := s.Write(p); err != nil {
				sent <- err
				return
			}
			f.sent.Add(int64(len(p)))
		}
		sent <- s.End()
	}()
	if n := f.stand(); n > inFlight {
		t.Errorf("%d bytes were taken before anything was pulled", n)
	}
	close(release)
	expect(t, s, 200, fmt.Sprint(plenty, nil))
	if err := within(t, sent, "the body was not sent"); err != nil {
		t.Errorf("send body: %v", err)
	}
}

func testEarly(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) { _ = answer(x, 403, "no thanks") })
	for _, length := range []int64{plenty, exchange.Unknown} {
		s := open(t, h).Start(Request{Method: "POST", Target: "/", Length: length})
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for p := make([]byte, 1024); s.Write(p) == nil; {
			}
		}()
		expect(t, s, 403, "no thanks")
		h.wait(t)
		s.Cancel()
		within(t, sent, "the upload did not end")
	}
}

func testHalfClose(t *testing.T, open Open) {
	release := make(chan struct{})
	h := serve(func(x *exchange.Exchange) {
		b, err := pull(x.Body)
		<-release
		_ = answer(x, 200, fmt.Sprintf("%s %v", b, err))
	})
	c := open(t, h)
	s := c.Start(Request{Method: "POST", Target: "/", Length: 3})
	if err := errors.Join(s.Write([]byte("abc")), s.End()); err != nil {
		t.Fatal(err)
	}
	c.HalfClose()
	close(release)
	expect(t, s, 200, "abc <nil>")
}

func testCancelled(t *testing.T, open Open) {
	for _, length := range []int64{100, exchange.Unknown} {
		got := make(chan error, 1)
		first := make(chan struct{})
		h := serve(func(x *exchange.Exchange) {
			_, err := x.Body.Next()
			close(first)
			for err == nil {
				_, err = x.Body.Next()
			}
			got <- err
		})
		s := open(t, h).Start(Request{Method: "POST", Target: "/", Length: length})
		if err := s.Write([]byte("0123456789")); err != nil {
			t.Fatal(err)
		}
		within(t, first, "the first piece did not arrive")
		s.Cancel()
		if err := within(t, got, "the body did not end"); errors.Is(err, io.EOF) {
			t.Error("a cancelled body ended as a whole one does")
		}
		h.wait(t)
	}
}

func testContinue(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) {
		b, err := pull(x.Body)
		_ = answer(x, 200, fmt.Sprintf("%s %v", b, err))
	})
	s := open(t, h).Start(Request{Method: "POST", Target: "/", Length: 3, Expect: true})
	if status, _, ok := s.Interim(); !ok || status != 100 {
		t.Fatalf("got interim %d, %v, want 100", status, ok)
	}
	if err := errors.Join(s.Write([]byte("abc")), s.End()); err != nil {
		t.Fatal(err)
	}
	expect(t, s, 200, "abc <nil>")
}

func testLateContinue(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) {
		_ = answer(x, 401, "who are you")
		_, _ = x.Body.Next() // too late: the client has been told something else
	})
	c := open(t, h)
	s := c.Start(Request{Method: "POST", Target: "/", Length: 3, Expect: true})
	expect(t, s, 401, "who are you")
	if !c.HalfClose() {
		c.Close()
	}
	if status, _, ok := s.Interim(); ok {
		t.Errorf("behind its answer the client was told %d", status)
	}
	h.wait(t)
}

func testNoContinue(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) { _ = answer(x, 401, "who are you") })
	s := open(t, h).Start(Request{Method: "POST", Target: "/", Length: 3, Expect: true})
	if status, _, ok := s.Interim(); ok {
		t.Errorf("got interim %d, want none", status)
	}
	expect(t, s, 401, "who are you")
}

func testStop(t *testing.T, open Open) {
	first, got := make(chan struct{}), make(chan error, 1)
	h := serve(func(x *exchange.Exchange) {
		go func() {
			_, err := x.Body.Next()
			close(first)
			for err == nil {
				_, err = x.Body.Next()
			}
			got <- err
		}()
		<-first
		x.Body.Stop()
		if err := <-got; errors.Is(err, io.EOF) {
			t.Error("a stopped body ended as a whole one does")
		}
		_ = answer(x, 200, "enough")
	})
	s := open(t, h).Start(Request{Method: "POST", Target: "/", Length: 100})
	if err := s.Write([]byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	expect(t, s, 200, "enough")
	h.wait(t)
}

func testPanic(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) {
		if string(x.Request.Path) == "/panic" {
			panic("as planned")
		}
		_ = answer(x, 200, "fine")
	})
	broken(t, open(t, h).Start(Request{Method: "GET", Target: "/panic"}))
	expect(t, open(t, h).Start(Request{Method: "GET", Target: "/"}), 200, "fine")
}

func testGone(t *testing.T, open Open) {
	began, got := make(chan struct{}), make(chan error, 1)
	h := serve(func(x *exchange.Exchange) {
		head := exchange.Head{Status: 200, Length: exchange.Unknown}
		err := errors.Join(x.Answer.Start(&head), x.Answer.Flush())
		close(began)
		for p := make([]byte, 64<<10); err == nil; {
			err = x.Answer.Write(p, false)
		}
		got <- err
	})
	c := open(t, h)
	s := c.Start(Request{Method: "GET", Target: "/"})
	if _, err := s.Answer(); err != nil {
		t.Fatal(err)
	}
	within(t, began, "the answer did not begin")
	c.Close()
	if err := within(t, got, "writing to nobody did not end"); !errors.Is(err, exchange.ErrClientGone) {
		t.Errorf("writing to nobody ended in %v, want ErrClientGone", err)
	}
	h.wait(t)
}

func testSequence(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) {
		b, err := pull(x.Body)
		_ = answer(x, 200, fmt.Sprintf("%s %s %v", x.Request.Path, b, err))
	})
	c := open(t, h)
	for i := range 20 {
		length := int64(3)
		if i%2 == 1 {
			length = exchange.Unknown
		}
		s := c.Start(Request{Method: "POST", Target: fmt.Sprintf("/%d", i), Length: length})
		if err := errors.Join(s.Write([]byte("abc")), s.End()); err != nil {
			t.Fatal(err)
		}
		expect(t, s, 200, fmt.Sprintf("/%d abc <nil>", i))
	}
}
