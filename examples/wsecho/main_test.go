package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/toska/toskatest"
)

// A message goes through the gateway and comes back.
func TestEcho(t *testing.T) {
	m := toskatest.New(t)
	m.Join("wsecho", http.HandlerFunc(echo))
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(m.Gateway(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "GET /api/wsecho/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("answered %s %v", res.Status, res.Header)
	}
	for _, tt := range []struct {
		name       string
		sent, want []byte
	}{
		{"text", masked(0x81, []byte("hello")), append([]byte{0x81, 5}, "hello"...)},
		{"a ping", masked(0x89, []byte("p")), []byte{0x8A, 1, 'p'}},
		{"a long one", masked(0x82, bytes.Repeat([]byte("x"), 300)), append([]byte{0x82, 126, 1, 44}, bytes.Repeat([]byte("x"), 300)...)},
		{"the end", masked(0x88, nil), []byte{0x88, 0}},
	} {
		if _, err := conn.Write(tt.sent); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(tt.want))
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, tt.want) {
			t.Errorf("%s: %x, %v, want %x", tt.name, got, err, tt.want)
		}
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after the end: %v, want io.EOF", err)
	}
}

// masked is a frame as a client sends it.
func masked(first byte, payload []byte) []byte {
	out := []byte{first}
	if len(payload) < 126 {
		out = append(out, 0x80|byte(len(payload)))
	} else {
		out = append(out, 0x80|126, byte(len(payload)>>8), byte(len(payload)))
	}
	mask := []byte{1, 2, 3, 4}
	out = append(out, mask...)
	for i, b := range payload {
		out = append(out, b^mask[i%4])
	}
	return out
}

func FuzzReadFrame(f *testing.F) {
	f.Add(masked(0x81, []byte("hello")))
	f.Add([]byte{0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := readFrame(bytes.NewReader(data)); err == nil && len(got.payload) > largest {
			t.Errorf("a frame of %d bytes", len(got.payload))
		}
	})
}

func TestAnOrdinaryRequestIsTold(t *testing.T) {
	m := toskatest.New(t)
	m.Join("wsecho", http.HandlerFunc(echo))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.Gateway()+"/api/wsecho/", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("answered %s, want 426", res.Status)
	}
}
