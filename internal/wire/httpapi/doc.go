// Package httpapi is what every HTTP surface of a node's control and discovery listeners shares: who
// calls (Guard), what went wrong (Problem), whether the node is well (MountHealth), the described REST
// API (API) and the server that carries them (Server).
//
// A listener is put together as
//
//	mux := http.NewServeMux()
//	httpapi.MountHealth(mux, node, live)
//	… Mount of each wire package …
//	httpapi.NewServer(httpapi.Handler(mux, listener, verifier, log), log).Serve(ctx, ln, grace)
//
// # Concurrency
//
// Everything is safe for concurrent use once it is mounted; mounting is not.
package httpapi
