//go:build unix

package http1

import (
	"errors"
	"net"
	"syscall"
)

// rawReads says that a RawConn's callback may read its descriptor by itself.
const rawReads = true

func rawRead(fd uintptr, p []byte) (int, error) { return syscall.Read(int(fd), p) }

func wouldBlock(err error) bool { return errors.Is(err, syscall.EAGAIN) }

// quiet reports whether an idle connection is open and has nothing to read: whatever an endpoint sent
// without being asked must not become the answer to somebody's next request.
func quiet(raw syscall.RawConn, _ net.Conn) bool {
	ok := false
	var one [1]byte
	err := raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		ok = wouldBlock(err)
		return true
	})
	return ok && err == nil
}
