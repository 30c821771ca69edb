package poll

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Listener accepts connections of loops. It is a second hold on a listener that somebody else owns:
// closing it leaves that open.
type Listener struct {
	loops *Loops
	addr  net.Addr
	file  *os.File
	raw   syscall.RawConn

	closed atomic.Bool
}

var _ net.Listener = (*Listener)(nil)

// Listen returns a Listener that shares a listener's socket.
func (ls *Loops) Listen(ln *net.TCPListener) (*Listener, error) {
	f, err := ln.File()
	if err != nil {
		return nil, fmt.Errorf("share %s: %w", ln.Addr(), err)
	}
	l := &Listener{loops: ls, addr: ln.Addr(), file: f}
	if l.raw, err = f.SyscallConn(); err == nil {
		err = l.inherit()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("share %s: %w", ln.Addr(), err), f.Close())
	}
	return l, nil
}

// inherit sets on the listener what its connections are to have: keep-alive probes.
func (l *Listener) inherit() error {
	var failed error
	err := l.raw.Control(func(fd uintptr) {
		failed = syscall.SetNonblock(int(fd), true)
		for _, o := range [...]struct{ level, name, value int }{
			{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 15},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 15},
		} {
			failed = errors.Join(failed, os.NewSyscallError("setsockopt", syscall.SetsockoptInt(int(fd), o.level, o.name, o.value)))
		}
	})
	return errors.Join(err, failed)
}

// Accept implements net.Listener. The connection is a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	fd, peer, err := -1, syscall.Sockaddr(nil), error(nil)
	failed := l.raw.Read(func(listener uintptr) bool {
		for {
			fd, peer, err = syscall.Accept4(int(listener), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
			// Interrupted, or gone before it was taken: the next one may be there.
			if !errors.Is(err, syscall.EINTR) && !errors.Is(err, syscall.ECONNABORTED) {
				return !errors.Is(err, syscall.EAGAIN)
			}
		}
	})
	switch {
	case failed != nil && l.closed.Load():
		return nil, net.ErrClosed
	case failed != nil:
		return nil, failed
	case err != nil:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: os.NewSyscallError("accept4", err)}
	}
	// What is small must not wait for what was sent before to be acknowledged.
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		return nil, errors.Join(os.NewSyscallError("setsockopt", err), syscall.Close(fd))
	}
	return l.loops.pick().newConn(fd, localAddr(fd), tcpAddr(peer))
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return l.addr }

// Close implements net.Listener.
func (l *Listener) Close() error {
	l.closed.Store(true)
	return l.file.Close()
}

// SetDeadline ends a blocked Accept.
func (l *Listener) SetDeadline(t time.Time) error { return l.file.SetDeadline(t) }

// pick spreads connections over the loops in turn.
func (ls *Loops) pick() *loop { return ls.all[int(ls.next.Add(1))%len(ls.all)] }
