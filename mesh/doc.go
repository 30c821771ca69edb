// Package mesh holds the nouns of Toska Mesh and the contracts that its roles offer to each other.
//
// Everything here is plain data or an interface: the package imports the standard library only, and
// every other package may import it. A role offers a contract (Discovery), a wire package carries it
// over the network, and whoever uses it cannot tell whether the role runs in the same process.
//
// # Concurrency
//
// Values are safe to share once published: a Snapshot and the Instances in it are never modified.
// Contracts are safe for concurrent use.
package mesh
