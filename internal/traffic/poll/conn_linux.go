package poll

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Conn is a TCP connection of a loop.
type Conn struct {
	fd            int
	loop          *loop
	slot          int32
	local, remote net.Addr
	// turn serves the connection once it can be read
	turn func()
	// carrier runs the exchange that the connection is used in; nil where a goroutine does. It changes
	// only between exchanges.
	carrier *Carrier
	// happened are the events that were collected; of the loop alone
	happened uint32

	mu      sync.Mutex
	in, out gate // guarded by mu
	parked  bool // guarded by mu: the loop begins a turn once there is something
	over    bool // guarded by mu: the peer has said its last
	closed  bool // guarded by mu
	using   int  // guarded by mu: calls that use the descriptor now
}

// gate is one direction of a connection.
type gate struct {
	// ready says that a call may succeed now.
	ready bool
	// expired says that the deadline has passed; until is when it does, in Unix nanoseconds, 0 for never.
	expired bool
	until   int64
	waiter  *Carrier   // suspended until it is ready
	blocked *sync.Cond // goroutines that wait; nil until there were some
}

// release lets go of whoever waits: a carrier is to be resumed by the caller.
func (g *gate) release() *Carrier {
	k := g.waiter
	g.waiter = nil
	if g.blocked != nil {
		g.blocked.Broadcast()
	}
	return k
}

var _ net.Conn = (*Conn)(nil)

// Adopt moves a connection to the carrier's loop. It is closed in either case.
func (k *Carrier) Adopt(conn *net.TCPConn) (*Conn, error) {
	defer func() { _ = conn.Close() }()
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	var dupErr error
	err = raw.Control(func(old uintptr) {
		r, _, e := syscall.Syscall(syscall.SYS_FCNTL, old, syscall.F_DUPFD_CLOEXEC, 0)
		if e != 0 {
			dupErr = os.NewSyscallError("fcntl", e)
			return
		}
		fd = int(r)
	})
	if err := errors.Join(err, dupErr); err != nil {
		return nil, err
	}
	c, err := k.loop.newConn(fd, conn.LocalAddr(), conn.RemoteAddr())
	if err == nil {
		c.Carry(k)
	}
	return c, err
}

func (l *loop) newConn(fd int, local, remote net.Addr) (*Conn, error) {
	c := &Conn{fd: fd, loop: l, local: local, remote: remote}
	// The first read and the first write are tried before they wait.
	c.in.ready, c.out.ready = true, true
	if err := l.add(c); err != nil {
		_ = syscall.Close(fd)
		return nil, err
	}
	return c, nil
}

// Serve has the loop call turn whenever there is something to read, the deadline for that has passed, or
// somebody closed the connection. A turn ends with Park, or closes the connection itself.
func (c *Conn) Serve(turn func()) {
	c.turn = turn
	c.loop.post(nil, c)
}

// Park ends a turn if there is nothing to read, and reports whether it did.
func (c *Conn) Park() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in.ready || c.in.expired || c.closed {
		return false
	}
	c.carrier = nil
	c.parked = true
	return true
}

// Carry says which carrier runs the exchange that the connection is used in; nil for none.
func (c *Conn) Carry(k *Carrier) { c.carrier = k }

// Carrier returns what Carry was told.
func (c *Conn) Carrier() *Carrier { return c.carrier }

// Quiet reports whether the connection is open and has nothing to read, as far as the loop has heard.
func (c *Conn) Quiet() bool {
	c.mu.Lock()
	switch {
	case c.closed:
		c.mu.Unlock()
		return false
	case !c.in.ready && !c.over:
		c.mu.Unlock()
		return true
	}
	c.using++
	c.mu.Unlock()
	something := peek(c.fd)
	c.mu.Lock()
	c.exit()
	return !something
}

// note takes the events that happened into account, and returns who waited for them.
func (c *Conn) note() (in, out *Carrier, begin bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ev := c.happened
	c.happened = 0
	if ev&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		c.over = true
	}
	if ev&(syscall.EPOLLIN|syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		c.in.ready = true
		in = c.in.release()
		begin = c.begin()
	}
	if ev&(syscall.EPOLLOUT|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		c.out.ready = true
		out = c.out.release()
	}
	return in, out, begin
}

// begin reports whether a turn is to begin, with mu held.
func (c *Conn) begin() bool {
	begin := c.parked
	c.parked = false
	return begin
}

// expire ends the waits whose deadline has passed, and returns the next deadline.
func (c *Conn) expire(now int64) (next int64, in, out *Carrier, begin bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next = never
	if c.in.late(now, &next) {
		in = c.in.release()
		begin = c.begin()
	}
	if c.out.late(now, &next) {
		out = c.out.release()
	}
	return next, in, out, begin
}

// late reports whether the deadline has passed just now.
func (g *gate) late(now int64, next *int64) bool {
	switch {
	case g.until == 0 || g.expired:
		return false
	case g.until <= now:
		g.expired = true
		return true
	}
	*next = min(*next, g.until)
	return false
}

// wait waits, with mu held, until a direction is ready.
func (c *Conn) wait(g *gate) error {
	for {
		switch k := c.carrier; {
		case c.closed:
			return net.ErrClosed
		case g.expired:
			return os.ErrDeadlineExceeded
		case g.ready:
			return nil
		case k != nil && k.onLoop:
			g.waiter = k
			c.mu.Unlock()
			k.suspend()
			c.mu.Lock()
		default:
			if g.blocked == nil {
				g.blocked = sync.NewCond(&c.mu)
			}
			g.blocked.Wait()
		}
	}
}

// WaitRead waits until a read may bring something.
func (c *Conn) WaitRead() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wait(&c.in)
}

// TryRead reads what there is; again says that there is nothing.
func (c *Conn) TryRead(p []byte) (n int, again bool, err error) {
	c.carrier.spend()
	if err := c.enter(&c.in); err != nil {
		return 0, false, err
	}
	n, again, err = rawRead(c.fd, p)
	c.mu.Lock()
	// A read that was not filled has emptied the connection: the next bytes are an event of their own.
	if n == len(p) || err != nil || c.over {
		c.in.ready = true
	}
	c.exit()
	if n == 0 && !again && err == nil {
		err = io.EOF
	}
	return n, again, err
}

// enter begins a call on the descriptor, with what is known of its direction forgotten.
func (c *Conn) enter(g *gate) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return net.ErrClosed
	case g.expired:
		return os.ErrDeadlineExceeded
	}
	g.ready = false
	c.using++
	return nil
}

// exit ends a call, with mu held, which it gives up.
func (c *Conn) exit() {
	c.using--
	last := c.closed && c.using == 0
	c.mu.Unlock()
	if last {
		c.free()
	}
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	for {
		if err := c.WaitRead(); err != nil {
			return 0, c.opError("read", err)
		}
		n, again, err := c.TryRead(p)
		switch {
		case again:
		case err == nil || errors.Is(err, io.EOF):
			return n, err
		default:
			return n, c.opError("read", err)
		}
	}
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	sent := 0
	for {
		c.carrier.spend()
		if err := c.enter(&c.out); err != nil {
			return sent, c.opError("write", err)
		}
		n, again, err := rawWrite(c.fd, p[sent:])
		sent += n
		c.mu.Lock()
		if !again {
			c.out.ready = true
		}
		c.exit()
		if err != nil {
			return sent, c.opError("write", err)
		}
		if sent == len(p) {
			return sent, nil
		}
		c.mu.Lock()
		err = c.wait(&c.out)
		c.mu.Unlock()
		if err != nil {
			return sent, c.opError("write", err)
		}
	}
}

func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// tell has the loop go on with whoever was let go.
func (c *Conn) tell(in, out *Carrier, begin bool) {
	if in != nil {
		c.loop.post(in, nil)
	}
	if out != nil {
		c.loop.post(out, nil)
	}
	if begin {
		c.loop.post(nil, c)
	}
}

// Close implements net.Conn. A parked connection begins a turn, which finds it closed.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.closed = true
	in, out, begin := c.in.release(), c.out.release(), c.begin()
	idle := c.using == 0
	c.mu.Unlock()
	if idle {
		c.free()
	} else {
		_ = syscall.Shutdown(c.fd, syscall.SHUT_RDWR)
	}
	c.tell(in, out, begin)
	return nil
}

// free gives the descriptor back.
func (c *Conn) free() {
	c.loop.remove(c)
	_ = syscall.Close(c.fd)
}

// CloseWrite tells the peer that nothing more comes.
func (c *Conn) CloseWrite() error {
	return c.use(func() error { return syscall.Shutdown(c.fd, syscall.SHUT_WR) })
}

// SetLinger is that of net.TCPConn.
func (c *Conn) SetLinger(sec int) error {
	l := syscall.Linger{Onoff: 1, Linger: int32(sec)}
	if sec < 0 {
		l = syscall.Linger{}
	}
	return c.use(func() error { return syscall.SetsockoptLinger(c.fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &l) })
}

// use calls fn while the descriptor is certain to be the connection's.
func (c *Conn) use(fn func() error) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.using++
	c.mu.Unlock()
	err := fn()
	c.mu.Lock()
	c.exit()
	return err
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.setDeadline(&c.in, t), c.setDeadline(&c.out, t))
}

// SetReadDeadline implements net.Conn. A parked connection begins a turn when it passes.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.in, t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.out, t) }

func (c *Conn) setDeadline(g *gate, t time.Time) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	g.expired, g.until = false, 0
	var k *Carrier
	begin := false
	if !t.IsZero() {
		g.until = t.UnixNano()
		if g.expired = time.Until(t) <= 0; g.expired {
			k = g.release()
			begin = g == &c.in && c.begin()
		}
	}
	until, expired := g.until, g.expired
	c.mu.Unlock()
	if until != 0 && !expired {
		c.loop.by(until)
	}
	c.tell(k, nil, begin)
	return nil
}

func localAddr(fd int) net.Addr {
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		return &net.TCPAddr{}
	}
	return tcpAddr(sa)
}

func tcpAddr(sa syscall.Sockaddr) net.Addr {
	switch a := sa.(type) {
	case *syscall.SockaddrInet4:
		return &net.TCPAddr{IP: a.Addr[:], Port: a.Port}
	case *syscall.SockaddrInet6:
		addr := &net.TCPAddr{IP: a.Addr[:], Port: a.Port}
		if a.ZoneId != 0 {
			if i, err := net.InterfaceByIndex(int(a.ZoneId)); err == nil {
				addr.Zone = i.Name
			}
		}
		return addr
	}
	return &net.TCPAddr{}
}
