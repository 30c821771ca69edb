package main

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/toska-mesh/toska-mesh/toska"
	"github.com/toska-mesh/toska-mesh/toska/toskagrpc"
	"github.com/toska-mesh/toska-mesh/toska/toskatest"
)

func TestTheServerIsFoundAndServes(t *testing.T) {
	m := toskatest.New(t)
	ctx, stop := context.WithCancel(context.Background())
	joined := make(chan error, 1)
	go func() {
		joined <- toska.JoinListener(ctx, "health-grpc", newServer(), m.Options(toska.WithListen("127.0.0.1:0"))...)
	}()
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
	conn, err := toskagrpc.Dial(client, "health-grpc")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	within, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	// It may not be registered yet, and is waited for.
	res, err := healthv1.NewHealthClient(conn).Check(within, &healthv1.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil || res.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("Check = %v, %v, want SERVING", res.GetStatus(), err)
	}
}
