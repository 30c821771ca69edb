package gateway_test

import (
	"bytes"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestARequestWithItsLineInTheLogAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's pools forget on purpose: run without -race")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		answer, buf := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), make([]byte, 16<<10)
		for { // each head comes in one read
			if _, err := c.Read(buf); err != nil {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	}()
	r := newRig(t, nil)
	r.log.mu.Lock()
	r.log.discard = true
	r.log.mu.Unlock()
	addr := ln.Addr().(*net.TCPAddr)
	r.d.set(snapshot(1, &mesh.Instance{ID: "a", Service: "Web", Address: "127.0.0.1", Port: addr.Port}), nil)
	r.waitReady()
	c, err := net.Dial("tcp", r.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	request := fmt.Appendf(nil, "GET /api/web/x?y HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: test \"x\"\r\nAccept: */*\r\n\r\n")
	buf := make([]byte, 16<<10)
	once := func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		for n := 0; !bytes.HasSuffix(buf[:n], []byte("\r\n\r\nok")); {
			k, err := c.Read(buf[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += k
		}
	}
	for range 500 {
		once()
	}
	const requests = 3000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range requests {
		once()
	}
	runtime.ReadMemStats(&after)
	if n := float64(after.Mallocs-before.Mallocs) / requests; n > 0.1 {
		t.Errorf("%.2f allocations per request, want none", n)
	}
}
