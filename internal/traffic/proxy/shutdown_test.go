package proxy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestAGatewayThatStopsUnderLoadFailsNobody(t *testing.T) {
	bothNamed(t, "U-12 a stop under load", func(t *testing.T, how mode) {
		up := newRecorder(t, "")
		r := newRig(t, rigConfig{how: how, wait: 20 * time.Millisecond}, up.addr)
		var served atomic.Int64
		var clients sync.WaitGroup
		begun := make(chan struct{}, 16)
		for i := range 16 {
			clients.Go(func() {
				for n := 0; ; {
					c, err := net.Dial("tcp", r.addr)
					if err != nil {
						return // it has stopped accepting
					}
					done, err := loadOn(c, i%2 == 0, &n, begun)
					served.Add(int64(done))
					_ = c.Close()
					if err != nil {
						t.Errorf("U-12: client %d after %d answers: %v", i, n, err)
						return
					}
					select {
					case <-r.stopped:
						return
					default:
					}
				}
			})
		}
		for range 16 {
			<-begun
		}
		start := time.Now()
		r.stop()
		<-r.stopped
		if d := time.Since(start); d > time.Second {
			t.Errorf("U-12: the drain took %v, want it to end with the last exchange", d)
		}
		_ = r.ln.Close() // what was not accepted is refused
		clients.Wait()
		if served.Load() < 16 {
			t.Errorf("U-12: %d requests were served, want some from each client", served.Load())
		}
	})
}

// loadOn asks again and again on one connection until the gateway closes it. A connection that is
// closed before a byte of an answer is one that a client may use anew; anything else is an error.
func loadOn(c net.Conn, upload bool, total *int, begun chan<- struct{}) (n int, err error) {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	br := bufio.NewReader(c)
	for {
		req := get("")
		if upload {
			req = post("Content-Length: 3\r\n", "abc")
		}
		if _, err := io.WriteString(c, req); err != nil {
			return n, nil
		}
		resp, err := http.ReadResponse(br, nil)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 || string(body) != "ok" {
			return n, fmt.Errorf("answer %d, %q, %w", resp.StatusCode, body, err)
		}
		if n++; *total == 0 {
			begun <- struct{}{}
		}
		*total++
		if resp.Close {
			return n, nil
		}
	}
}

func TestAnExchangeThatIsUnderWayEndsBeforeTheGatewayDoes(t *testing.T) {
	bothNamed(t, "U-12 an exchange under way", func(t *testing.T, how mode) {
		arrived, release := make(chan struct{}), make(chan struct{})
		up := newRecorderFunc(t, func(int, string) string {
			close(arrived)
			<-release
			return okAnswer
		})
		r := newRig(t, rigConfig{how: how}, up.addr)
		idle := r.dial()
		waitFor(t, "the idle connection is accepted", func() bool { return r.server.Connections() == 1 })
		c := r.dial()
		_, _ = io.WriteString(c, get(""))
		<-arrived
		r.stop()
		// It is closed a moment after the drain began.
		if b, err := io.ReadAll(idle); len(b) != 0 || err != nil {
			t.Errorf("U-12: an idle connection ended with %q, %v", b, err)
		}
		select {
		case <-r.stopped:
			t.Error("U-12: the gateway ended before its exchange")
		default:
		}
		close(release)
		b, err := io.ReadAll(c)
		if err != nil || !strings.HasSuffix(string(b), "\r\n\r\nok") || !strings.Contains(string(b), "Connection: close\r\n") {
			t.Errorf("U-12: the exchange under way ended with %q, %v", b, err)
		}
		_ = c.Close()
		<-r.stopped
	})
}

func TestARequestThatCrossesTheDrainIsServed(t *testing.T) {
	bothNamed(t, "U-12 a request that crosses the drain", func(t *testing.T, how mode) {
		for range 20 {
			up := newRecorder(t, "")
			r := newRig(t, rigConfig{how: how}, up.addr)
			c := r.dial()
			br := bufio.NewReader(c)
			_, _ = io.WriteString(c, get(""))
			if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 200 {
				t.Fatal(resp, err)
			} else {
				_, _ = io.Copy(io.Discard, resp.Body)
			}
			r.stop()
			_, _ = io.WriteString(c, get(""))
			resp, err := http.ReadResponse(br, nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("U-12: a request that came with the drain got %v, %v; want 200", resp, err)
			}
			_ = c.Close()
			<-r.stopped
		}
	})
}

func TestWhatOutlastsTheGraceIsBrokenOff(t *testing.T) {
	bothNamed(t, "U-12 what outlasts the grace", func(t *testing.T, how mode) {
		r := newRig(t, rigConfig{how: how}, newUpstream(t, sink))
		r.server.Grace = 50 * time.Millisecond
		hanging := r.dial()
		_, _ = io.WriteString(hanging, get(""))
		ws := newRig(t, rigConfig{how: how}, newUpstream(t, echoing))
		ws.server.Grace = 50 * time.Millisecond
		tunnel := ws.dial()
		_, _ = io.WriteString(tunnel, upgradeRequest)
		_ = readHead(bufio.NewReader(tunnel))
		waitFor(t, "the request is being served", func() bool { return r.server.Connections() == 1 })
		start := time.Now()
		r.stop()
		ws.stop()
		_, _ = io.Copy(io.Discard, hanging)
		_, _ = io.Copy(io.Discard, tunnel)
		<-r.stopped
		<-ws.stopped
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("U-12: the gateway took %v with a grace of 50 ms", d)
		}
	})
}
