// Package openfiles tells how many files and sockets a process may have open, and has.
package openfiles

import "errors"

// ErrUnknown is that this system does not tell, or not of that process.
var ErrUnknown = errors.New("this system does not tell")

// Limit returns how many files and sockets this process may have open at once. A Go program is allowed
// what the hard limit of its shell or service says.
func Limit() (int, error) { return limit() }

// Of returns how many files and sockets a process has open, and how many it may.
func Of(pid int) (open, most int, err error) { return of(pid) }
