// Command adder is a service that calls another one by its name. Beside a running "toska up" and
// examples/hello:
//
//	go run ./examples/adder
//	curl "http://127.0.0.1:5000/api/adder/add?a=1&b=2"
//
// The client finds the instances of hello by itself, shares calls among them, and goes on with those that it
// knows while the node is away.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/toska-mesh/toska-mesh/toska"
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
	return toska.Join(ctx, "adder", handler(client.HTTP()))
}

// handler adds two numbers and has hello say the sum.
func handler(client *http.Client) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /add", func(w http.ResponseWriter, r *http.Request) {
		a, errA := strconv.Atoi(r.FormValue("a"))
		b, errB := strconv.Atoi(r.FormValue("b"))
		if errA != nil || errB != nil {
			http.Error(w, "add wants two numbers, as in /add?a=1&b=2", http.StatusBadRequest)
			return
		}
		greeting, err := greet(r.Context(), client, fmt.Sprint(a+b))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = io.WriteString(w, greeting) // the caller may be gone
	})
	return mux
}

// greet calls hello. The context of the request that is served carries its deadline and its trace on.
func greet(ctx context.Context, client *http.Client, name string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "toska://hello/?name="+url.QueryEscape(name), nil)
	if err != nil {
		return "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("hello answered %s", res.Status)
	}
	return string(body), err
}
