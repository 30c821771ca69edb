// Package discoveryapi carries the mesh.Discovery contract over a node's control port: RPCs (Connect,
// gRPC and gRPC-Web) and described REST for every client, and a Client that satisfies the same contract
// at the other end.
//
// # Concurrency
//
// Handlers and Client are safe for concurrent use. Each session and each watch of a Client has one
// goroutine, which ends with it; Client.Close ends and waits for all of them.
package discoveryapi

import "github.com/toska-mesh/toska-mesh/api/discovery/v1/discoveryv1connect"

// ServiceName is the RPC service, as reflection names it.
const ServiceName = discoveryv1connect.DiscoveryName
