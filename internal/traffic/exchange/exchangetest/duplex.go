package exchangetest

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

func testEcho(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) {
		head := exchange.Head{Status: 200, Length: exchange.Unknown}
		err := errors.Join(x.Answer.Start(&head), x.Answer.Flush())
		for err == nil {
			var p []byte
			if p, err = x.Body.Next(); err == nil {
				err = errors.Join(x.Answer.Write(p, false), x.Answer.Flush())
			}
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("echo: %v", err)
		}
		_ = x.Answer.End(nil)
	})
	s := open(t, h).Start(Request{Method: "POST", Target: "/", Length: exchange.Unknown})
	if a, err := s.Answer(); err != nil || a.Status != 200 {
		t.Fatalf("got %d, %v before the body was sent, want 200", a.Status, err)
	}
	for i := range 50 {
		word := fmt.Sprintf("word %2d.", i)
		if err := s.Write([]byte(word)); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, len(word))
		if _, err := io.ReadFull(s, p); string(p) != word || err != nil {
			t.Fatalf("got %q, %v for %q", p, err, word)
		}
	}
	if err := s.End(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(s); len(rest) > 0 || err != nil {
		t.Errorf("at the end came %q, %v", rest, err)
	}
}

func testInterleaved(t *testing.T, open Open) {
	for _, expects := range []bool{false, true} {
		h := serve(func(x *exchange.Exchange) {
			for i := range 3 {
				if _, err := x.Body.Next(); err != nil {
					t.Errorf("piece %d: %v", i, err)
				}
				if err := x.Answer.Interim(103, exchange.Fields{{Name: []byte("X-Piece"), Value: []byte{byte('0' + i)}}}); err != nil {
					t.Errorf("interim %d: %v", i, err)
				}
			}
			_, err := pull(x.Body)
			_ = answer(x, 200, fmt.Sprint(err))
			if err := x.Answer.Interim(103, nil); err != nil {
				t.Errorf("an interim answer that comes too late is %v, want nothing", err)
			}
		})
		c := open(t, h)
		for range 2 { // an interim answer that was too late would stand before the next answer
			s := c.Start(Request{Method: "POST", Target: "/", Length: 3, Expect: expects})
			if expects {
				if status, _, ok := s.Interim(); !ok || status != 100 {
					t.Fatalf("got %d, %v, want 100", status, ok)
				}
			}
			for i := range 3 {
				if err := s.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				status, fields, ok := s.Interim()
				if !ok || status != 103 || (Answer{Fields: fields}).Get("x-piece") != fmt.Sprint(i) {
					t.Fatalf("after piece %d came %d %v, %v, want 103 of it", i, status, fields, ok)
				}
			}
			if err := s.End(); err != nil {
				t.Fatal(err)
			}
			expect(t, s, 200, "<nil>")
		}
	}
}

// Telling a client to go on and passing interim answers may fall together: the body is pulled by one
// goroutine, and the answer comes through another.
func testInterimBesideUpload(t *testing.T, open Open) {
	for range 20 {
		h := serve(func(x *exchange.Exchange) {
			x.Carrier.Leave() // two goroutines from here on
			pulled := make(chan error, 1)
			go func() {
				_, err := pull(x.Body)
				pulled <- err
			}()
			for range 5 {
				if err := x.Answer.Interim(102, nil); err != nil {
					t.Errorf("interim: %v", err)
				}
			}
			_ = answer(x, 200, fmt.Sprint(<-pulled))
		})
		s := open(t, h).Start(Request{Method: "POST", Target: "/", Length: 3, Expect: true})
		continues, others := 0, 0
		for continues+others < 6 {
			switch status, _, ok := s.Interim(); {
			case ok && status == 100:
				continues++
				if err := errors.Join(s.Write([]byte("abc")), s.End()); err != nil {
					t.Fatal(err)
				}
			case ok && status == 102:
				others++
			default:
				t.Fatalf("after %d and %d interim answers came %d, %v", continues, others, status, ok)
			}
		}
		expect(t, s, 200, "<nil>")
		if continues != 1 {
			t.Fatalf("the client was told %d times to go on", continues)
		}
	}
}

func testUndeclared(t *testing.T, open Open) {
	sent := exchange.Fields{
		{Name: []byte("X-One"), Value: []byte("1")}, {Name: []byte("x-two"), Value: []byte("a, b")}, {Name: []byte("Grpc-Status"), Value: []byte("0")},
		{Name: []byte("Content-Length"), Value: []byte("99"), Kind: exchange.ContentLength},
	}
	h := serve(func(x *exchange.Exchange) {
		b, err := pull(x.Body)
		got := fmt.Appendf(nil, "%s %v", b, err)
		for _, f := range x.Body.Trailers() {
			got = fmt.Appendf(got, " %s=%s", strings.ToLower(string(f.Name)), f.Value)
		}
		head := exchange.Head{Status: 200, Length: exchange.Unknown}
		_ = x.Answer.Start(&head)
		_ = x.Answer.Write(got, true)
		_ = x.Answer.End(sent)
	})
	c := open(t, h)
	for range 2 {
		s := c.Start(Request{Method: "POST", Target: "/", Length: exchange.Unknown, Trailers: true})
		if err := errors.Join(s.Write([]byte("abc")), s.End(Field{"X-A", "1"}, Field{"X-A", "2"}, Field{"X-B", ""}, Field{"Host", "evil"})); err != nil {
			t.Fatal(err)
		}
		expect(t, s, 200, "abc <nil> x-a=1 x-a=2 x-b=")
		got := Answer{Fields: s.Trailers()}
		if got.Get("x-one") != "1" || got.Get("x-two") != "a, b" || got.Get("grpc-status") != "0" || len(got.Fields) != 3 {
			t.Errorf("trailers are %v", got.Fields)
		}
	}
}

func testSizedTrailers(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) {
		b, err := pull(x.Body)
		head := exchange.Head{Status: 200, Length: 3}
		_ = x.Answer.Start(&head)
		_ = x.Answer.Write(fmt.Appendf(nil, "%s", b), true)
		_ = x.Answer.End(exchange.Fields{{Name: []byte("X-Sum"), Value: fmt.Appendf(nil, "%s %v", x.Body.Trailers().Get("x-sum"), err)}})
	})
	s := open(t, h).Start(Request{Method: "POST", Target: "/", Length: 3, Trailers: true})
	if err := errors.Join(s.Write([]byte("abc")), s.End(Field{"X-Sum", "42"})); err != nil {
		t.Fatal(err)
	}
	expect(t, s, 200, "abc")
	if got := (Answer{Fields: s.Trailers()}).Get("x-sum"); got != "42 <nil>" {
		t.Errorf("the trailer is %q", got)
	}
}

func testBodyBound(t *testing.T, open Open) {
	for _, length := range []int64{20, exchange.Unknown} {
		h := serve(func(x *exchange.Exchange) {
			x.Bounds.Body = 10
			b, err := pull(x.Body)
			fault, ok := errors.AsType[*exchange.ClientError](err)
			if !ok || fault.Status != 413 || len(b) > 10 {
				t.Errorf("a body over its bound gave %d bytes and %v", len(b), err)
				return
			}
			exchange.Refuse(x, fault)
		})
		s := open(t, h).Start(Request{Method: "POST", Target: "/", Length: length})
		go func() { _, _ = s.Write([]byte("0123456789")), s.Write([]byte("0123456789")) }()
		if a, err := s.Answer(); err != nil || a.Status != 413 {
			t.Errorf("got %d, %v, want 413", a.Status, err)
		}
		h.wait(t)
	}
}
