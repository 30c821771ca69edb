//go:build unix

package cli

import (
	"os"
	"syscall"
)

// forwarded are the signals that toska run hands on to its program.
var forwarded = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}

// stops reports whether the signal asks a program to end in order.
func stops(s os.Signal) bool { return s == syscall.SIGINT || s == syscall.SIGTERM }
