//go:build unix

package http1

import (
	"errors"
	"syscall"
)

// rawReads says that a RawConn's callback may read its descriptor by itself.
const rawReads = true

func rawRead(fd uintptr, p []byte) (int, error) { return syscall.Read(int(fd), p) }

func wouldBlock(err error) bool { return errors.Is(err, syscall.EAGAIN) }

// rawPeek reads and leaves what it read where it was.
func rawPeek(fd uintptr, p []byte) error {
	_, _, err := syscall.Recvfrom(int(fd), p, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err
}
