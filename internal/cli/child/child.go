// Package child runs a program whose whole process group ends with this process, however this process
// ends: on Unix a watchdog holds a pipe and kills the group when it breaks, on Windows a job object does.
//
// # Concurrency
//
// The methods of a Process are safe for concurrent use; Wait is called once.
package child

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
)

// Config says what to run.
type Config struct {
	// Argv is the program, looked up on the PATH, and its arguments.
	Argv []string
	// Env is the whole environment, as in os.Environ.
	Env []string
	// Stdin, Stdout and Stderr are handed down; nil is the null device.
	Stdin, Stdout, Stderr *os.File
	// Watchdog is the command line that makes this same binary call Watch. Windows needs none.
	Watchdog []string
}

// Start starts the program. The caller must call Wait.
func Start(cfg Config) (*Process, error) {
	if len(cfg.Argv) == 0 {
		return nil, errors.New("start a program: no command is given")
	}
	p, err := start(cfg)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cfg.Argv[0], err)
	}
	return p, nil
}

// StartStatus returns the exit status by which shells tell why a program could not be started: 127 if
// it was not found, 126 if it was found and could not be run.
func StartStatus(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return 127
	}
	return 126
}
