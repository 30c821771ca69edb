// Package discoveryapi carries the mesh.Discovery contract over a node's control port: RPCs (Connect,
// gRPC and gRPC-Web) and described REST for every client, and a Client that satisfies the same contract
// at the other end.
//
// # Concurrency
//
// Handlers and Client are safe for concurrent use. Each session and each watch of a Client has one
// goroutine, which ends with it; Client.Close ends and waits for all of them.
package discoveryapi
