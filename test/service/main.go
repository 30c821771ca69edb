// Command service is a small HTTP service for tests: it tells who it is, waits when asked to, and echoes
// over an upgraded connection. It listens on the port in PORT, or on a free one that it prints.
//
// After /switch?status=503 it answers 503 to everything, after /switch?status=0 as before. /served tells
// how many requests it has answered; those two paths are not counted, and always answer.
package main

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", cmpOr(os.Getenv("PORT"), "0")))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", ln.Addr())
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", echo)
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.URL.Query().Get("for"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
		fmt.Fprintln(w, "slow", os.Getpid())
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, os.Getpid(), r.Method, r.URL.Path)
	})
	srv := &http.Server{Handler: switched(mux), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	select {
	case err := <-done:
		log.Fatal(err)
	case <-ctx.Done():
	}
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(shutdown); err != nil {
		log.Print(err)
	}
}

// switched counts requests, and answers them itself while it is told to.
func switched(next http.Handler) http.Handler {
	var status, served atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/switch", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.URL.Query().Get("status"), 10, 64)
		if err != nil || n != 0 && (n < 200 || n > 599) {
			http.Error(w, "status wants 0 or a status such as 503", http.StatusBadRequest)
			return
		}
		status.Store(n)
	})
	mux.HandleFunc("/served", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, served.Load()) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		if n := status.Load(); n != 0 {
			w.WriteHeader(int(n))
			fmt.Fprintln(w, os.Getpid(), "answers", n)
			return
		}
		next.ServeHTTP(w, r)
	})
	return mux
}

// echo becomes a WebSocket and sends back every frame.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "websocket" {
		http.Error(w, "this is for websockets", http.StatusBadRequest)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = conn.Close() }()
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "+
		base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n"); err != nil {
		return
	}
	for echoFrame(conn, rw) == nil { // it ends with the client
	}
}

// echoFrame sends one short frame of a client back, unmasked as an endpoint's are.
func echoFrame(to io.Writer, from io.Reader) error {
	var head [6]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return err
	}
	payload := make([]byte, head[1]&0x7f)
	if _, err := io.ReadFull(from, payload); err != nil {
		return err
	}
	for i := range payload {
		payload[i] ^= head[2+i%4]
	}
	_, err := to.Write(append([]byte{head[0], byte(len(payload))}, payload...))
	return err
}

func cmpOr(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
