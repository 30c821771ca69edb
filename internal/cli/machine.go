package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
	"github.com/toska-mesh/toska-mesh/internal/util/diskspace"
	"github.com/toska-mesh/toska-mesh/internal/util/openfiles"
	"github.com/toska-mesh/toska-mesh/internal/util/portholder"
)

// Machine is what toska doctor looks at outside of the nodes.
type Machine interface {
	// Data looks at a data directory and changes nothing.
	Data(dir string) (app.DataState, error)
	// FreeSpace returns the bytes left on the disk that holds path.
	FreeSpace(path string) (int64, error)
	// OpenFiles returns how many files a process has open and may have; a pid of zero asks what a new
	// node may have.
	OpenFiles(pid int) (open, most int, err error)
	// Taken returns who listens where a node would listen on addr; empty if nobody does.
	Taken(ctx context.Context, addr string) (holder string, err error)
	// Pointers returns the files by which this user's nodes are found.
	Pointers(ctx context.Context) ([]pointer.Found, error)
	// Now is the wall clock.
	Now() time.Time
}

// thisMachine is the real one.
type thisMachine struct{}

func (thisMachine) Data(dir string) (app.DataState, error) { return app.InspectData(dir) }

func (thisMachine) FreeSpace(path string) (int64, error) { return diskspace.Free(path) }

func (thisMachine) OpenFiles(pid int) (open, most int, err error) {
	if pid == 0 {
		most, err = openfiles.Limit()
		return 0, most, err
	}
	return openfiles.Of(pid)
}

func (thisMachine) Pointers(ctx context.Context) ([]pointer.Found, error) { return pointer.Survey(ctx) }

func (thisMachine) Now() time.Time { return time.Now() }

// Taken listens for a moment: nothing else tells on every system, and for every owner.
func (thisMachine) Taken(ctx context.Context, addr string) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err == nil {
		return "", l.Close()
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return "", err
	}
	if a, err := net.ResolveTCPAddr("tcp", addr); err == nil {
		if pid, name, ok := portholder.Find(a.AddrPort()); ok {
			return fmt.Sprintf("%s (process %d)", name, pid), nil
		}
	}
	return "another process", nil
}
