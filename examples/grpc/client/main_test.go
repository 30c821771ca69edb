package main

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/toska-mesh/toska-mesh/toska"
	"github.com/toska-mesh/toska-mesh/toska/toskatest"
)

func TestTheClientFindsTheServerByItsName(t *testing.T) {
	m := toskatest.New(t)
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	healthv1.RegisterHealthServer(server, health.NewServer())
	ctx, stop := context.WithCancel(context.Background())
	joined := make(chan error, 1)
	go func() { joined <- toska.JoinListener(ctx, "health-grpc", server, m.Options(toska.WithListener(ln))...) }()
	t.Cleanup(func() {
		stop()
		if err := <-joined; err != nil {
			t.Errorf("JoinListener = %v", err)
		}
	})
	client, err := toska.NewClient(m.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	conn, err := dial(client)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for {
		got, err := check(t.Context(), healthv1.NewHealthClient(conn))
		if want := fmt.Sprint("SERVING from ", ln.Addr()); err == nil {
			if got != want {
				t.Errorf("answered %q, want %q", got, want)
			}
			return
		}
		select {
		case <-tick.C: // it is not registered yet
		case <-late:
			t.Fatal(err)
		}
	}
}
