package toska_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
)

// A client calls a service by its name. Here discovery is a fake that knows one instance; a program leaves
// WithDiscovery away, and finds the mesh by itself.
func ExampleClient() {
	orders := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "three orders")
	}))
	defer orders.Close()
	discovery := newFakeDiscovery(instanceAt("orders-1", orders.Listener.Addr().String()))

	client, err := toska.NewClient(toska.WithDiscovery(discovery))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "toska://orders/list", nil)
	if err != nil {
		log.Fatal(err)
	}
	res, err := client.HTTP().Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	fmt.Println(res.Status, string(body), err)
	// Output: 200 OK three orders <nil>
}

// What went wrong is an error with a kind to branch on and a code to look up.
func ExampleClient_RoundTrip() {
	client, err := toska.NewClient(toska.WithDiscovery(newFakeDiscovery()))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "toska://nobody/", nil)
	if err != nil {
		log.Fatal(err)
	}
	res, err := client.RoundTrip(req)
	if err == nil {
		_ = res.Body.Close()
	}
	fmt.Println(errors.Is(err, mesh.ErrNotFound), mesh.CodeOf(err))
	// Output: true TOSKA-SERVICE-NONE
}

// Calls that a handler makes with its request's context carry on what came with the request.
func ExampleContinue() {
	handler := toska.Continue(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, limited := r.Context().Deadline()
		fmt.Println(toska.CorrelationFromContext(r.Context()), limited)
	}))
	req := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
	req.Header.Set("X-Correlation-ID", "order-17")
	req.Header.Set("Toska-Timeout", "1500")
	handler.ServeHTTP(httptest.NewRecorder(), req)
	// Output: order-17 true
}
