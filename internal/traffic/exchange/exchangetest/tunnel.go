package exchangetest

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

func testTunnel(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) {
		if !x.Request.WebSocket {
			t.Error("the request does not ask for a tunnel")
		}
		tun, err := x.Answer.Tunnel(&exchange.Head{Status: 101})
		if err != nil {
			t.Errorf("tunnel: %v", err)
			return
		}
		for {
			p, err := tun.Next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Errorf("the client's end is %v, want io.EOF", err)
				}
				break
			}
			_, _ = tun.Write(bytes.ToUpper(p))
		}
		_, _ = tun.Write([]byte(" bye"))
		_ = tun.CloseWrite()
	})
	c := open(t, h)
	s := c.Start(Request{Method: "GET", Target: "/", WebSocket: true})
	if a, err := s.Answer(); err != nil || a.Status != 101 {
		t.Fatalf("got %d, %v, want 101", a.Status, err)
	}
	for _, word := range []string{"hello", "again"} {
		sent := make(chan error, 1)
		go func() { sent <- s.Write([]byte(word)) }() // the echo of its front may come before its end went
		p := make([]byte, 5)
		if _, err := io.ReadFull(s, p); err != nil || string(p) != string(bytes.ToUpper([]byte(word))) {
			t.Fatalf("got %q, %v for %q", p, err, word)
		}
		if err := within(t, sent, "the word was not sent"); err != nil {
			t.Fatal(err)
		}
	}
	if !c.HalfClose() {
		c.Close()
	} else if rest, err := io.ReadAll(s); string(rest) != " bye" || err != nil {
		t.Errorf("after our end came %q, %v", rest, err)
	}
	h.wait(t)
}

func testTunnelAbort(t *testing.T, open Open) {
	h := serve(func(x *exchange.Exchange) {
		tun, err := x.Answer.Tunnel(&exchange.Head{Status: 101})
		if err != nil {
			t.Errorf("tunnel: %v", err)
			return
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if _, err := tun.Next(); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("an aborted tunnel ended in %v", err)
			}
		}()
		tun.Abort()
		<-ended
	})
	s := open(t, h).Start(Request{Method: "GET", Target: "/", WebSocket: true})
	_, _ = s.Answer()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, s)
	}()
	within(t, ended, "the client's end of an aborted tunnel did not end")
	h.wait(t)
}
