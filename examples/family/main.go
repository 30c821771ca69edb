// Command family is a service that joins without the SDK, as the service kits of the earlier Toska Mesh
// projects do: it registers over gRPC, reports its health in time, and deregisters at its end. Beside a
// running "toska up":
//
//	go run ./examples/family
//	curl http://127.0.0.1:5000/api/family/
//
// MESH_DISCOVERY_ADDRESS names the discovery port if it is not 127.0.0.1:8080.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"connectrpc.com/connect"

	familyv1 "github.com/toska-mesh/toska-mesh/api/family/discovery/v1"
	"github.com/toska-mesh/toska-mesh/api/family/discovery/v1/familyv1connect"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, cmp.Or(os.Getenv("MESH_DISCOVERY_ADDRESS"), "127.0.0.1:8080"), 10*time.Second); err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx ends, and reports its health at every interval.
func run(ctx context.Context, discovery string, interval time.Duration) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello from the family\n") // the caller may be gone
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	registry, release := connectTo(discovery)
	defer release()
	err = keep(ctx, registry, ln.Addr().(*net.TCPAddr).Port, interval)
	err = errors.Join(err, server.Close())
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// connectTo returns a client of the registry: gRPC over HTTP/2 in the clear.
func connectTo(discovery string) (registry familyv1connect.DiscoveryRegistryClient, release func()) {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols}
	return familyv1connect.NewDiscoveryRegistryClient(&http.Client{Transport: transport}, "http://"+discovery, connect.WithGRPC()),
		transport.CloseIdleConnections
}

// keep holds the registration: a report in time renews it, and one that is not known is made again.
func keep(ctx context.Context, registry familyv1connect.DiscoveryRegistryClient, port int, interval time.Duration) error {
	id, err := register(ctx, registry, port)
	if err != nil {
		return err
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			_, err := registry.Deregister(context.WithoutCancel(ctx), &familyv1.DeregisterServiceRequest{ServiceId: id})
			return err
		case <-tick.C:
		}
		res, err := registry.ReportHealth(ctx, &familyv1.ReportHealthRequest{ServiceId: id, Status: familyv1.HealthStatus_HEALTH_STATUS_HEALTHY})
		if ctx.Err() == nil && (err != nil || !res.GetSuccess()) {
			log.Printf("the report was not taken (%v); registering again", err)
			if again, err := register(ctx, registry, port); err == nil {
				id = again
			}
		}
	}
}

func register(ctx context.Context, registry familyv1connect.DiscoveryRegistryClient, port int) (string, error) {
	res, err := registry.Register(ctx, &familyv1.RegisterServiceRequest{
		ServiceName: "family", Address: "127.0.0.1", Port: int32(port), Metadata: map[string]string{"scheme": "http"},
	})
	if err != nil {
		return "", err
	}
	if !res.GetSuccess() {
		return "", fmt.Errorf("register: %s", res.GetErrorMessage())
	}
	log.Print("registered as ", res.GetServiceId())
	return res.GetServiceId(), nil
}
