package toskagrpc_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/toska-mesh/toska-mesh/toska"
	"github.com/toska-mesh/toska-mesh/toska/toskagrpc"
)

// A connection to a service by its name. Get may be asked twice, and goes to another instance when the first
// says that it is unavailable.
func ExampleDial() {
	client, err := toska.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	conn, err := toskagrpc.Dial(client, "orders", toskagrpc.WithIdempotent("/grpc.health.v1.Health/Check"))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = conn.Close() }()

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	res, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
	fmt.Println(res.GetStatus(), err)
}

// A server whose handlers carry on what came with a call, and may panic.
func ExampleServerOptions() {
	server := grpc.NewServer(toskagrpc.ServerOptions(slog.Default())...)
	fmt.Println(len(server.GetServiceInfo()))
	// Output: 0
}
