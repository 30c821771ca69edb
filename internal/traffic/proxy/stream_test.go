package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// How an endpoint frames events. event returns the pieces that it writes them in.
var eventFramings = []struct {
	name, head string
	event      func(text string) []string
	end        string
}{
	{"in chunks", "Transfer-Encoding: chunked\r\n", func(text string) []string {
		return []string{fmt.Sprintf("%x\r\n%s\r\n", len(text), text)}
	}, "0\r\n\r\n"},
	{"in chunks that come in small writes", "Transfer-Encoding: chunked\r\n", func(text string) []string {
		return []string{fmt.Sprintf("%x\r", len(text)), "\n", text[:1], text[1:], "\r\n"}
	}, "0\r\n\r\n"},
	{"in two chunks each", "Transfer-Encoding: chunked\r\n", func(text string) []string {
		return []string{fmt.Sprintf("1\r\n%s\r\n%x\r\n%s\r\n", text[:1], len(text)-1, text[1:])}
	}, "0\r\n\r\n"},
	{"until the connection closes", "Connection: close\r\n", func(text string) []string { return []string{text} }, ""},
}

func TestEventsAreFlushedAtOnce(t *testing.T) {
	for _, row := range eventFramings {
		t.Run("W-14 an event every second for an hour, "+row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const events = 3600
				r := newPipeRig(t, func(c net.Conn) {
					_ = readHead(bufio.NewReader(c))
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"+row.head+"\r\n")
					for n := range events {
						time.Sleep(time.Second)
						for _, p := range row.event(eventText(n, time.Now())) {
							_, _ = io.WriteString(c, p)
						}
					}
					time.Sleep(time.Second) // a pipe that is closed takes no deadline any more
					if row.end != "" {      // an empty write into a pipe is an empty read out of it
						_, _ = io.WriteString(c, row.end)
					}
				})
				defer r.close()
				c := r.connect()
				_, _ = io.WriteString(c, get("Accept: text/event-stream\r\n"))
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil || resp.StatusCode != 200 {
					t.Fatal(resp, err)
				}
				br := bufio.NewReader(resp.Body)
				for n := range events {
					if got, err := readEvent(br); got != eventText(n, time.Now()) || err != nil {
						t.Fatalf("event %d came as %q, %v at %v", n, got, err, time.Now())
					}
				}
				if rest, err := io.ReadAll(br); len(rest) > 0 || err != nil {
					t.Errorf("at the end came %q, %v", rest, err)
				}
				if rec := r.record(); rec.Code != "" {
					t.Errorf("recorded %+v", rec.Record)
				}
			})
		})
	}
}

func eventText(n int, at time.Time) string {
	return fmt.Sprintf("id: %d\ndata: %d\n\n", n, at.UnixNano())
}

func readEvent(br *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := br.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\n" {
			return b.String(), err
		}
	}
}

// Each event must have arrived before the endpoint goes on: what is held back would be waited for.
func TestAnEventDoesNotWaitForTheNext(t *testing.T) {
	for _, row := range eventFramings {
		bothNamed(t, "W-14 "+row.name, func(t *testing.T, how mode) {
			seen := make(chan struct{})
			r := newRig(t, rigConfig{how: how}, newUpstream(t, func(c net.Conn) {
				_ = readHead(bufio.NewReader(c))
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"+row.head+"\r\n")
				for n := range 20 {
					if _, ok := <-seen; !ok {
						return
					}
					for _, p := range row.event(eventText(n, time.Time{})) {
						_, _ = io.WriteString(c, p)
					}
				}
				<-seen
				_, _ = io.WriteString(c, row.end)
			}))
			defer close(seen)
			c := r.dial()
			_, _ = io.WriteString(c, get(""))
			resp, err := http.ReadResponse(bufio.NewReader(c), nil) // the head does not wait either
			if err != nil {
				t.Fatal(err)
			}
			br := bufio.NewReader(resp.Body)
			for n := range 20 {
				seen <- struct{}{}
				if got, err := readEvent(br); got != eventText(n, time.Time{}) || err != nil {
					t.Fatalf("event %d came as %q, %v", n, got, err)
				}
			}
			seen <- struct{}{}
			if rest, err := io.ReadAll(br); len(rest) > 0 || err != nil {
				t.Errorf("at the end came %q, %v", rest, err)
			}
		})
	}
}

func TestAnAnswerThatNeverEndsIsNotCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, func(c net.Conn) {
			_ = readHead(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for {
				time.Sleep(25 * time.Second) // within the time that a body may make no progress
				if _, err := io.WriteString(c, "1\r\nx\r\n"); err != nil {
					return
				}
			}
		})
		defer r.close()
		c := r.connect()
		_, _ = io.WriteString(c, get(""))
		br := bufio.NewReader(c)
		_ = readHead(br)
		start := time.Now()
		for time.Since(start) < 30*24*time.Hour {
			p := make([]byte, 6)
			if _, err := io.ReadFull(br, p); err != nil || string(p) != "1\r\nx\r\n" {
				t.Fatalf("U-14: after %v came %q, %v", time.Since(start), p, err)
			}
		}
	})
}

func TestAnAnswerLargerThanAnyBufferPasses(t *testing.T) {
	bothNamed(t, "U-14", func(t *testing.T, how mode) {
		const pieces, size = 512, 64 << 10
		r := newRig(t, rigConfig{how: how}, newUpstream(t, func(c net.Conn) {
			_ = readHead(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			piece := fmt.Sprintf("%x\r\n%s\r\n", size, strings.Repeat("x", size))
			for range pieces {
				_, _ = io.WriteString(c, piece)
			}
			_, _ = io.WriteString(c, "0\r\n\r\n")
		}))
		c := r.dial()
		_, _ = io.WriteString(c, get(""))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != pieces*size || err != nil {
			t.Errorf("U-14: %d bytes came of %d, %v", n, pieces*size, err)
		}
	})
}
