package exchangetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

func testInterim(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) {
		link := exchange.Fields{{Name: []byte("Link"), Value: []byte("</a.css>")}}
		if err := errors.Join(x.Answer.Interim(103, link), x.Answer.Interim(102, nil)); err != nil {
			t.Errorf("interim: %v", err)
		}
		if x.Answer.Started() {
			t.Error("an interim answer counts as the final one")
		}
		_ = answer(x, 200, "done")
	})
	s := open(t, h).Start(Request{Method: "GET", Target: "/"})
	status, fields, ok := s.Interim()
	if !ok || status != 103 || !slices.Contains(fields, Field{"Link", "</a.css>"}) {
		t.Errorf("got %d, %v, %v; want 103 with a link", status, fields, ok)
	}
	if status, _, ok = s.Interim(); !ok || status != 102 {
		t.Errorf("got %d, %v; want 102", status, ok)
	}
	expect(t, s, 200, "done")
}

func testTrailers(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) {
		b, err := pull(x.Body)
		sum := x.Body.Trailers().Get("x-sum")
		head := exchange.Head{Status: 200, Length: exchange.Unknown}
		_ = x.Answer.Start(&head)
		_ = x.Answer.Write(fmt.Appendf(nil, "%s %v %s", b, err, sum), true)
		_ = x.Answer.End(exchange.Fields{{Name: []byte("X-Sum"), Value: []byte("43")}})
	})
	s := open(t, h).Start(Request{Method: "POST", Target: "/", Length: exchange.Unknown, Trailers: true})
	if err := errors.Join(s.Write([]byte("abc")), s.End(Field{"X-Sum", "42"})); err != nil {
		t.Fatal(err)
	}
	expect(t, s, 200, "abc <nil> 42")
	if got := s.Trailers(); !slices.ContainsFunc(got, func(f Field) bool { return exchange.EqualFold([]byte(f.Name), "x-sum") && f.Value == "43" }) {
		t.Errorf("trailers are %v, want x-sum 43", got)
	}
}

func testNoTrailers(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) {
		head := exchange.Head{Status: 200, Length: exchange.Unknown}
		_ = x.Answer.Start(&head)
		_ = x.Answer.Write([]byte("abc"), true)
		_ = x.Answer.End(exchange.Fields{{Name: []byte("X-Sum"), Value: []byte("43")}})
	})
	s := open(t, h).Start(Request{Method: "GET", Target: "/"})
	expect(t, s, 200, "abc")
	if got := s.Trailers(); len(got) != 0 {
		t.Errorf("trailers are %v, want none", got)
	}
}

func testNoBody(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) {
		if err := answer(x, 200, "twelve bytes"); err != nil {
			t.Errorf("answer: %v", err)
		}
	})
	c := open(t, h)
	for range 2 { // the connection goes on: nobody took the next answer for a body
		head := expect(t, c.Start(Request{Method: "HEAD", Target: "/"}), 200, "")
		if head.Length != 12 {
			t.Errorf("length is %d, want 12", head.Length)
		}
	}
}

func testUnknownAnswer(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) {
		head := exchange.Head{Status: 200, Length: exchange.Unknown}
		_ = x.Answer.Start(&head)
		_ = x.Answer.Write([]byte("abc"), false)
		_ = x.Answer.Write(nil, false) // nothing is no end
		_ = x.Answer.Write([]byte("def"), true)
		_ = x.Answer.End(nil)
	})
	c := open(t, h)
	for range 2 {
		expect(t, c.Start(Request{Method: "GET", Target: "/"}), 200, "abcdef")
	}
}

func testPieces(t *testing.T, open Open) {
	var want []byte
	for n := 1; n < 200000; n = n*2 + 1 {
		want = append(want, bytes.Repeat([]byte{byte('a' + n%26)}, n)...)
	}
	for _, length := range []int64{int64(len(want)), exchange.Unknown} {
		h := serve(func(x *exchange.Exchange) {
			head := exchange.Head{Status: 200, Length: length}
			_ = x.Answer.Start(&head)
			rest := want
			for n := 1; len(rest) > 0; n = n*2 + 1 {
				p := rest[:min(n, len(rest))]
				rest = rest[len(p):]
				_ = x.Answer.Write(p, len(rest) == 0)
			}
			_ = x.Answer.End(nil)
		})
		expect(t, open(t, h).Start(Request{Method: "GET", Target: "/"}), 200, string(want))
	}
}

func testSlowReader(t *testing.T, open Open) {
	var f flow
	h := serve(func(x *exchange.Exchange) {
		head := exchange.Head{Status: 200, Length: plenty}
		_ = x.Answer.Start(&head)
		p := make([]byte, 64<<10)
		for range plenty / len(p) {
			if x.Answer.Write(p, false) != nil {
				return
			}
			f.sent.Add(int64(len(p)))
		}
		_ = x.Answer.End(nil)
	})
	s := open(t, h).Start(Request{Method: "GET", Target: "/"})
	if _, err := s.Answer(); err != nil {
		t.Fatal(err)
	}
	if n := f.stand(); n > inFlight {
		t.Errorf("%d bytes were written before any was read", n)
	}
	if n, err := io.Copy(io.Discard, s); n != plenty || err != nil {
		t.Errorf("read %d, %v, want %d", n, err, plenty)
	}
}

func testFlush(t *testing.T, open Open) {
	release := make(chan struct{})
	h := serve(func(x *exchange.Exchange) {
		head := exchange.Head{Status: 200, Length: exchange.Unknown}
		_ = x.Answer.Start(&head)
		_ = x.Answer.Write([]byte("first"), true)
		_ = x.Answer.Flush()
		<-release
		_ = x.Answer.Write([]byte(" second"), true)
		_ = x.Answer.End(nil)
	})
	s := open(t, h).Start(Request{Method: "GET", Target: "/"})
	if _, err := s.Answer(); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 5)
	if _, err := io.ReadFull(s, p); string(p) != "first" || err != nil {
		t.Errorf("before the second piece came %q, %v", p, err)
	}
	close(release)
	if rest, err := io.ReadAll(s); string(rest) != " second" || err != nil {
		t.Errorf("then came %q, %v", rest, err)
	}
}

func testShort(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) {
		head := exchange.Head{Status: 200, Length: 10}
		_ = x.Answer.Start(&head)
		_ = x.Answer.Write([]byte("abc"), true)
		if x.Answer.End(nil) == nil {
			t.Error("ending an answer that is too short is no error")
		}
	})
	broken(t, open(t, h).Start(Request{Method: "GET", Target: "/"}))
}

func testNotEnded(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) {
		head := exchange.Head{Status: 200, Length: exchange.Unknown}
		_ = x.Answer.Start(&head)
		_ = x.Answer.Write([]byte("abc"), true)
		_ = x.Answer.Flush()
	})
	broken(t, open(t, h).Start(Request{Method: "GET", Target: "/"}))
}

func testLong(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) {
		head := exchange.Head{Status: 200, Length: 2}
		_ = x.Answer.Start(&head)
		if x.Answer.Write([]byte("abc"), true) == nil {
			t.Error("a body longer than its length was taken")
		}
	})
	broken(t, open(t, h).Start(Request{Method: "GET", Target: "/"}))
}

func testTwice(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) {
		_ = answer(x, 200, "once")
		if x.Answer.Start(&exchange.Head{Status: 500}) == nil {
			t.Error("a second head was taken")
		}
		if _, err := x.Answer.Tunnel(&exchange.Head{Status: 101}); err == nil {
			t.Error("a tunnel was opened behind an answer")
		}
		exchange.Problem(x, 500, "TOSKA-TEST", "too late to say")
	})
	c := open(t, h)
	for range 2 {
		expect(t, c.Start(Request{Method: "GET", Target: "/"}), 200, "once")
	}
}
