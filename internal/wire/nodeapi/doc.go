// Package nodeapi carries the mesh.Node contract over a node's control port: an RPC, described REST,
// and a Client that satisfies the same contract at the other end.
//
// # Concurrency
//
// Handlers and Client are safe for concurrent use, and start no goroutine.
package nodeapi
