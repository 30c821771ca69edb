// Command wsecho is a service that takes WebSockets and sends back what comes. Beside a running "toska up":
//
//	go run ./examples/wsecho
//	websocat ws://127.0.0.1:5000/api/wsecho/
//
// The gateway passes the upgrade through. The protocol is spoken in frame.go, to show that nothing but
// http.Hijacker is needed; a real service takes a library.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/toska-mesh/toska-mesh/toska"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := toska.Join(ctx, "wsecho", http.HandlerFunc(echo)); err != nil {
		log.Fatal(err)
	}
}

// echo becomes a WebSocket and sends each message back.
func echo(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Sec-WebSocket-Key")
	hijacker, ok := w.(http.Hijacker)
	if !ok || key == "" || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || r.Header.Get("Sec-WebSocket-Version") != "13" {
		w.Header().Set("Upgrade", "websocket")
		http.Error(w, "this is a WebSocket of version 13", http.StatusUpgradeRequired)
		return
	}
	conn, buffered, err := hijacker.Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = buffered.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + accept(key) + "\r\n\r\n")
	for buffered.Flush() == nil {
		f, err := readFrame(buffered.Reader)
		if err != nil {
			return
		}
		switch f.opcode {
		case opPing:
			f.opcode = opPong
		case opPong:
			continue
		}
		_ = writeFrame(buffered.Writer, f) // a failure shows in the next Flush
		if f.opcode == opClose {
			_ = buffered.Flush()
			return
		}
	}
}
