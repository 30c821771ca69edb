package cli

import (
	"os"
	"syscall"
)

// forwarded are the signals that toska run hands on to its program.
var forwarded = []os.Signal{os.Interrupt, syscall.SIGTERM}

// stops reports whether the signal asks a program to end in order.
func stops(os.Signal) bool { return true }
