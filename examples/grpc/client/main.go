// Command client calls the gRPC service "health-grpc" of the mesh by its name, once a second. It speaks
// gRPC's own health protocol, which needs no .proto of ours.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/toska-mesh/toska-mesh/toska"
	"github.com/toska-mesh/toska-mesh/toska/toskagrpc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	client, err := toska.NewClient()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	conn, err := dial(client)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()

	health := healthv1.NewHealthClient(conn)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if answer, err := check(ctx, health); err != nil {
			log.Print(err)
		} else {
			fmt.Println(answer)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// dial connects to the service by its name. Check may be asked twice: where one instance is unavailable,
// another one is asked.
func dial(client *toska.Client) (*grpc.ClientConn, error) {
	return toskagrpc.Dial(client, "health-grpc", toskagrpc.WithIdempotent("/grpc.health.v1.Health/Check"))
}

// check asks for the health of the server, and says which instance has answered.
func check(ctx context.Context, health healthv1.HealthClient) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var instance peer.Peer
	res, err := health.Check(ctx, &healthv1.HealthCheckRequest{}, grpc.Peer(&instance))
	if err != nil {
		return "", err
	}
	return fmt.Sprint(res.GetStatus(), " from ", instance.Addr), nil
}
