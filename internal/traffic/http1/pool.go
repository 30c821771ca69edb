package http1

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/poll"
)

// Pool keeps the idle links to one endpoint. The one used last is taken first, so that the surplus of
// a burst grows old and goes.
type Pool struct {
	addr string
	cfg  *LinkConfig
	// secure has the configuration of TLS; nil where it is not spoken
	secure func() (*tls.Config, error)
	open   atomic.Int64

	mu     sync.Mutex
	idle   [][]*Link // by home, 0 being that of links without a loop; guarded by mu
	closed bool      // guarded by mu
}

// NewPool returns an empty pool for the endpoint at addr, host:port.
func NewPool(addr string, cfg *LinkConfig) *Pool { return &Pool{addr: addr, cfg: cfg} }

// NewSecurePool returns an empty pool for an endpoint that is spoken to over TLS and never without. secure
// returns the configuration for a new connection; where its ServerName is empty the endpoint must prove
// the host of addr. An error of secure is one of the dial and wraps ErrTrust.
func NewSecurePool(addr string, cfg *LinkConfig, secure func() (*tls.Config, error)) *Pool {
	return &Pool{addr: addr, cfg: cfg, secure: secure}
}

// Addr returns the endpoint's address.
func (p *Pool) Addr() string { return p.addr }

// Open returns how many links there are, idle or in use.
func (p *Pool) Open() int { return int(p.open.Load()) }

// Get returns an idle link that is still good, or dials within the given time. The link is for an
// exchange that k runs, and of the same loop; nil where a goroutine runs it. Errors of the dial wrap
// ErrDial.
func (p *Pool) Get(ctx context.Context, connect time.Duration, k *poll.Carrier) (*Link, error) {
	now := time.Now()
	if l := p.take(now, home(k)); l != nil {
		l.taken, l.dialled = now, 0
		if l.src.looped != nil {
			l.src.looped.Carry(k)
		}
		return l, nil
	}
	return p.Dial(ctx, connect, k)
}

// home is where the idle links for k are.
func home(k *poll.Carrier) int {
	if k == nil {
		return 0
	}
	return 1 + k.Home()
}

// Dial opens a new link, as Get does. It lives no longer than ctx: the end of that breaks off whatever
// it does.
func (p *Pool) Dial(ctx context.Context, connect time.Duration, k *poll.Carrier) (*Link, error) {
	return p.DialWith(ctx, connect, nil, k)
}

// DialWith opens a new link as Dial does, and sends the header on it before anything else, TLS among that. If
// there is one the link serves one exchange alone: a header speaks for one client.
func (p *Pool) DialWith(ctx context.Context, connect time.Duration, header []byte, k *poll.Carrier) (*Link, error) {
	k.Leave() // a dial blocks
	begun := time.Now()
	conn, err := p.connect(ctx, connect, header)
	if err != nil {
		return nil, dialError(p.addr, err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok && k != nil {
		if conn, err = k.Adopt(tcp); err != nil {
			return nil, dialError(p.addr, err)
		}
	}
	p.open.Add(1)
	l := newLink(p, conn)
	l.home = home(k)
	l.single = header != nil
	l.taken = time.Now()
	l.dialled = l.taken.Sub(begun)
	l.unwatch = context.AfterFunc(ctx, l.Interrupt)
	return l, nil
}

// connect opens a connection on which a request can be sent, within the timeout.
func (p *Pool) connect(ctx context.Context, timeout time.Duration, header []byte) (net.Conn, error) {
	if p.secure == nil {
		return p.dialTCP(ctx, timeout, header)
	}
	cfg, err := p.secure()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTrust, err)
	}
	until := time.Now().Add(timeout)
	conn, err := p.dialTCP(ctx, timeout, header)
	if err != nil {
		return nil, err
	}
	s, err := handshake(ctx, conn, cfg, p.addr, until)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	return s, nil
}

func (p *Pool) dialTCP(ctx context.Context, timeout time.Duration, header []byte) (conn net.Conn, err error) {
	if p.cfg.Dial != nil {
		conn, err = p.cfg.Dial(ctx, p.addr)
	} else {
		d := net.Dialer{Timeout: timeout, KeepAlive: 15 * time.Second}
		conn, err = d.DialContext(ctx, "tcp", p.addr)
	}
	if err != nil || len(header) == 0 {
		return conn, err
	}
	if _, err := conn.Write(header); err != nil { // it fits any buffer, so it does not wait
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func (p *Pool) take(now time.Time, home int) *Link {
	for {
		l := p.pop(home)
		if l == nil {
			return nil
		}
		if l.fresh(now) {
			return l
		}
		l.Close()
	}
}

func (p *Pool) pop(home int) *Link {
	p.mu.Lock()
	defer p.mu.Unlock()
	if home >= len(p.idle) || len(p.idle[home]) == 0 {
		return nil
	}
	idle := p.idle[home]
	l := idle[len(idle)-1]
	idle[len(idle)-1] = nil
	p.idle[home] = idle[:len(idle)-1]
	return l
}

func (p *Pool) put(l *Link) {
	l.since = time.Now()
	if !p.push(l) {
		l.Close()
	}
}

func (p *Pool) push(l *Link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	for len(p.idle) <= l.home {
		p.idle = append(p.idle, nil)
	}
	p.idle[l.home] = append(p.idle[l.home], l)
	return true
}

// Sweep closes the links that have lain idle for too long.
func (p *Pool) Sweep(now time.Time) {
	var old []*Link
	p.mu.Lock()
	for home, idle := range p.idle {
		n := 0
		for n < len(idle) && now.Sub(idle[n].since) > p.cfg.Idle {
			n++
		}
		old = append(old, idle[:n]...)
		p.idle[home] = slices.Delete(idle, 0, n)
	}
	p.mu.Unlock()
	for _, l := range old {
		l.Close()
	}
}

// CloseIdle closes the idle links, as Close does, and the pool goes on.
func (p *Pool) CloseIdle() {
	p.mu.Lock()
	old := slices.Concat(p.idle...)
	p.idle = nil
	p.mu.Unlock()
	for _, l := range old {
		l.Close()
	}
}

// Close closes the idle links; those in use are closed when they are released.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	old := slices.Concat(p.idle...)
	p.idle = nil
	p.mu.Unlock()
	for _, l := range old {
		l.Close()
	}
}
