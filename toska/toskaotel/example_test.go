package toskaotel_test

import (
	"context"
	"log"
	"time"

	"github.com/toska-mesh/toska-mesh/toska/toskaotel"
)

// Spans are sent to where OTEL_EXPORTER_OTLP_ENDPOINT says, and the last of them when the program ends.
func ExampleSetup() {
	ctx := context.Background()
	shutdown, err := toskaotel.Setup(ctx, "orders")
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		_ = shutdown(ctx)
	}()
}
