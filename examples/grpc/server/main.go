// Command server is a gRPC service of the mesh: "health-grpc" speaks gRPC's own health protocol, which needs no
// .proto of ours. Start several; the client beside it finds them all.
package main

import (
	"context"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/toska-mesh/toska-mesh/toska"
	"github.com/toska-mesh/toska-mesh/toska/toskagrpc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A free port is taken, registered, and given back when the program is interrupted.
	if err := toska.JoinListener(ctx, "health-grpc", newServer()); err != nil {
		log.Fatal(err)
	}
}

// newServer answers gRPC's health protocol. The options carry trace and correlation id on, and contain a handler's
// panic to its call.
func newServer() *grpc.Server {
	server := grpc.NewServer(toskagrpc.ServerOptions(slog.Default())...)
	healthv1.RegisterHealthServer(server, health.NewServer())
	return server
}
