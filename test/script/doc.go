// Package script holds the stories of the whole binary: scripts that do what an operator does, and the
// code blocks of the documentation, run as they stand. There is nothing in it but tests.
//
// # Concurrency
//
// Scripts run at the same time; each has its own directory, ports and user directories.
package script
