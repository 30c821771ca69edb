// Package familyapi speaks the family's discovery protocol, the gRPC service
// toskamesh.discovery.DiscoveryRegistry with its health and reflection services, over the
// mesh.Discovery contract. Its behaviour is a contract with clients that exist.
//
// # Concurrency
//
// The handler is safe for concurrent use and starts no goroutine.
package familyapi
