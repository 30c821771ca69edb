package proxy_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

const (
	upgradeRequest = "GET /api/svc/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	upgradeAnswer  = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

const (
	opText  = 0x81
	opMore  = 0x01 // the first fragment of several
	opLast  = 0x80
	opClose = 0x88
	opPing  = 0x89
)

// masked is a frame of a client. Its key is 0, so that its payload is what it says.
func masked(first byte, payload string) string {
	return header(first, 0x80, len(payload)) + "\x00\x00\x00\x00" + payload
}

// unmasked is a frame of an endpoint.
func unmasked(first byte, payload string) string { return header(first, 0, len(payload)) + payload }

func header(first, mask byte, n int) string {
	b := []byte{first}
	switch {
	case n < 126:
		b = append(b, mask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), uint64(n))
	}
	return string(b)
}

// wsFrame is a frame as it was read.
type wsFrame struct {
	first   byte
	masked  bool
	payload string
}

func readFrame(r io.Reader) (f wsFrame, err error) {
	var h [8]byte
	if _, err := io.ReadFull(r, h[:2]); err != nil {
		return f, err
	}
	f.first, f.masked = h[0], h[1]&0x80 != 0
	n := uint64(h[1] & 0x7f)
	switch n {
	case 126:
		_, err = io.ReadFull(r, h[:2])
		n = uint64(binary.BigEndian.Uint16(h[:]))
	case 127:
		_, err = io.ReadFull(r, h[:8])
		n = binary.BigEndian.Uint64(h[:])
	}
	var key [4]byte
	if err == nil && f.masked {
		_, err = io.ReadFull(r, key[:])
	}
	if err != nil {
		return f, err
	}
	p := make([]byte, n)
	if _, err := io.ReadFull(r, p); err != nil {
		return f, err
	}
	for i := range p {
		p[i] ^= key[i%4]
	}
	f.payload = string(p)
	return f, nil
}

// status is that of a close frame; 0 for any other frame.
func (f wsFrame) status() int {
	if f.first != opClose || len(f.payload) < 2 {
		return 0
	}
	return int(binary.BigEndian.Uint16([]byte(f.payload)))
}

// statusText is the payload of a close frame.
func statusText(n int) string { return string(binary.BigEndian.AppendUint16(nil, uint16(n))) }

// expectFrame reads one frame.
func expectFrame(t testing.TB, r io.Reader, first byte, payload string) {
	t.Helper()
	f, err := readFrame(r)
	if err != nil || f.first != first || f.payload != payload {
		t.Fatalf("read frame %#x %.40q, %v; want %#x %.40q", f.first, f.payload, err, first, payload)
	}
}

// echoing is an endpoint that upgrades, says hello and sends back each message, and the close frame.
func echoing(c net.Conn) {
	br := bufio.NewReader(c)
	if !strings.Contains(readHead(br), "Upgrade: websocket\r\n") {
		return
	}
	_, _ = io.WriteString(c, upgradeAnswer+unmasked(opText, "hello")) // the first words may come with the head
	for {
		f, err := readFrame(br)
		if err != nil {
			return
		}
		if !f.masked {
			f.payload = "unmasked " + f.payload
		}
		_, _ = io.WriteString(c, unmasked(f.first, f.payload))
		if f.first == opClose {
			return
		}
	}
}

// scripted is an endpoint that upgrades and gives the rest to a script.
func scripted(script func(c net.Conn, br *bufio.Reader)) func(c net.Conn) {
	return func(c net.Conn) {
		br := bufio.NewReader(c)
		_ = readHead(br)
		_, _ = io.WriteString(c, upgradeAnswer)
		script(c, br)
	}
}

// heard is what an end of a WebSocket heard until it ended.
type heard struct {
	frames []wsFrame
	err    error
}

// hear reads until the connection ends, or a close frame comes, which it answers with itself as an end does.
func hear(c net.Conn, br *bufio.Reader, answer func(first byte, payload string) string) (h heard) {
	for {
		f, err := readFrame(br)
		if err != nil {
			h.err = err
			return h
		}
		h.frames = append(h.frames, f)
		if f.first == opClose {
			_, h.err = io.WriteString(c, answer(opClose, f.payload))
			return h
		}
	}
}

func (h heard) String() string {
	var b strings.Builder
	for _, f := range h.frames {
		if n := f.status(); n != 0 {
			fmt.Fprintf(&b, "close %d ", n)
			continue
		}
		fmt.Fprintf(&b, "%.20q ", f.payload)
	}
	return strings.TrimSpace(b.String())
}

// open becomes a WebSocket.
func (r *rig) open(path string) (net.Conn, *bufio.Reader) {
	r.t.Helper()
	c := r.dial()
	return c, r.handshake(c, path)
}

func (r *rig) handshake(c net.Conn, path string) *bufio.Reader {
	r.t.Helper()
	if _, err := io.WriteString(c, strings.Replace(upgradeRequest, "/api/svc/ws", path, 1)); err != nil {
		r.t.Fatal(err)
	}
	br := bufio.NewReader(c)
	if head := readHead(br); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		r.t.Fatalf("the handshake was answered %q", head)
	}
	return br
}
