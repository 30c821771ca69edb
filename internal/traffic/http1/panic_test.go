package http1_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
)

// breaking is an observer that panics.
type breaking struct{}

// Observe implements exchange.Observer.
func (breaking) Observe(*exchange.Exchange) { panic("made to panic") }

func TestAPanicOutsideTheHandlerEndsItsConnectionAlone(t *testing.T) {
	lim := http1.DefaultLimits()
	srv := &http1.Server{
		Handler: serveFunc(sayOK), Observer: breaking{}, Limits: lim, Timeouts: http1.DefaultTimeouts(),
		Buffers: http1.NewBuffers(lim), Log: slog.New(slog.DiscardHandler), Scheme: "http",
	}
	server, client := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		http1.NewConn(srv, server).Serve(context.Background(), func() bool { return false })
	}()
	go func() { _, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n") }()
	_, _ = io.ReadAll(client) // ends with the connection
	<-done
}
