// Command hello is a service in five lines. Beside a running "toska up":
//
//	go run ./examples/hello
//	curl http://127.0.0.1:5000/api/hello/?name=Ada
//
// It takes a free port, registers once that is open, stays registered, and leaves in order on Ctrl-C.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/toska-mesh/toska-mesh/toska"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	http.HandleFunc("/", hello)
	if err := toska.Join(ctx, "hello", nil); err != nil {
		log.Fatal(err)
	}
}

func hello(w http.ResponseWriter, r *http.Request) {
	name := r.FormValue("name")
	if name == "" {
		name = "world"
	}
	_, _ = fmt.Fprintf(w, "Hello, %s!\n", name) // the caller may be gone
}
