// Package nodeapi carries the mesh.Node contract over a node's control port: an RPC, described REST,
// and a Client that satisfies the same contract at the other end.
//
// # Concurrency
//
// Handlers and Client are safe for concurrent use, and start no goroutine.
package nodeapi

import "github.com/toska-mesh/toska-mesh/api/node/v1/nodev1connect"

// ServiceName is the RPC service, as reflection names it.
const ServiceName = nodev1connect.NodeName
