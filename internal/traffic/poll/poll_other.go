//go:build !linux

package poll

import (
	"context"
	"net"
)

// Loops do not exist here.
type Loops struct{}

// New returns ErrUnsupported.
func New(int) (*Loops, error) { return nil, ErrUnsupported }

// Len returns 0.
func (*Loops) Len() int { return 0 }

// Run returns when ctx ends.
func (*Loops) Run(ctx context.Context) { <-ctx.Done() }

// Listener does not exist here.
type Listener struct{ net.Listener }

// Listen returns ErrUnsupported.
func (*Loops) Listen(*net.TCPListener) (*Listener, error) { return nil, ErrUnsupported }

// Carrier does not exist here: each is nil.
type Carrier struct{}

// Home returns 0.
func (*Carrier) Home() int { return 0 }

// Leave does nothing.
func (*Carrier) Leave() {}

// Adopt returns ErrUnsupported.
func (*Carrier) Adopt(*net.TCPConn) (*Conn, error) { return nil, ErrUnsupported }

// Conn does not exist here: each is nil.
type Conn struct{ net.Conn }

// Serve does nothing.
func (*Conn) Serve(func()) {}

// Park reports false.
func (*Conn) Park() bool { return false }

// Carry does nothing.
func (*Conn) Carry(*Carrier) {}

// Carrier returns nil.
func (*Conn) Carrier() *Carrier { return nil }

// Quiet reports false.
func (*Conn) Quiet() bool { return false }

// WaitRead returns ErrUnsupported.
func (*Conn) WaitRead() error { return ErrUnsupported }

// TryRead returns ErrUnsupported.
func (*Conn) TryRead([]byte) (n int, again bool, err error) { return 0, false, ErrUnsupported }
