// Package toska is the Go SDK: what a program uses to be part of a mesh.
//
// A Keeper holds the session of one instance for as long as the program runs, over whatever carries
// mesh.Discovery.
//
// # Concurrency
//
// Everything here is safe for concurrent use unless it says otherwise. Nothing runs in the background
// but what a Run method is waiting for.
package toska
