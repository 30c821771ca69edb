// Package familyapi speaks the family's two discovery protocols over the mesh.Discovery contract: the gRPC
// service toskamesh.discovery.DiscoveryRegistry with its health and reflection services, and the REST
// surface of ServiceDiscovery and ServiceRegistration with its envelope. Their behaviour is a contract
// with clients that exist, and one access rule holds for both.
//
// # Concurrency
//
// The handler is safe for concurrent use and starts no goroutine.
package familyapi
