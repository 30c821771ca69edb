package toska_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
)

// A service in five lines. It runs until the process is told to stop.
func ExampleJoin() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	if err := toska.Join(ctx, "hello", nil); err != nil {
		log.Print(err) // and end with a status that says so
	}
}

// A service that says how it is, and that takes its time to leave.
func ExampleJoin_options() {
	var db interface{ PingContext(context.Context) error } // a *sql.DB
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := toska.Join(ctx, "orders", http.NotFoundHandler(),
		toska.WithVersion("1.4"),
		toska.WithWeight(2),
		toska.WithHealth(func(ctx context.Context) error { return db.PingContext(ctx) }),
		toska.WithDrainDelay(2*time.Second),
		toska.WithGrace(30*time.Second),
	)
	if errors.Is(err, mesh.ErrStale) {
		log.Print("another program has taken the id")
	}
}

// Options that make no sense are refused together.
func ExampleNewMesh() {
	_, err := toska.NewMesh(toska.WithControl("10.0.0.1:5010", "10.0.0.2"))
	fmt.Println(errors.Is(err, mesh.ErrInvalid), err)
	// Output: true options of the SDK are wrong: control: "10.0.0.2" is no HOST:PORT such as 127.0.0.1:5010
}

// A cache that is cold makes a service slower, not wrong: it is picked where nothing else is.
func ExampleDegraded() {
	warm := func(context.Context) error { return toska.Degraded(errors.New("the cache is cold")) }
	fmt.Println(warm(context.Background()), toska.Degraded(nil))
	// Output: the cache is cold <nil>
}
