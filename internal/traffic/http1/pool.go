package http1

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Pool keeps the idle links to one endpoint. The one used last is taken first, so that the surplus of
// a burst grows old and goes.
type Pool struct {
	addr string
	cfg  *LinkConfig
	open atomic.Int64

	mu     sync.Mutex
	idle   []*Link // guarded by mu
	closed bool    // guarded by mu
}

// NewPool returns an empty pool for the endpoint at addr, host:port.
func NewPool(addr string, cfg *LinkConfig) *Pool { return &Pool{addr: addr, cfg: cfg} }

// Addr returns the endpoint's address.
func (p *Pool) Addr() string { return p.addr }

// Open returns how many links there are, idle or in use.
func (p *Pool) Open() int { return int(p.open.Load()) }

// Get returns an idle link that is still good, or dials within the given time. Errors of the dial wrap
// ErrDial.
func (p *Pool) Get(ctx context.Context, connect time.Duration) (*Link, error) {
	if l := p.take(time.Now()); l != nil {
		return l, nil
	}
	return p.Dial(ctx, connect)
}

// Dial opens a new link, which lives no longer than ctx: the end of that breaks off whatever it does.
func (p *Pool) Dial(ctx context.Context, connect time.Duration) (*Link, error) {
	var conn net.Conn
	var err error
	if p.cfg.Dial != nil {
		conn, err = p.cfg.Dial(ctx, p.addr)
	} else {
		d := net.Dialer{Timeout: connect, KeepAlive: 15 * time.Second}
		conn, err = d.DialContext(ctx, "tcp", p.addr)
	}
	if err != nil {
		return nil, dialError(p.addr, err)
	}
	p.open.Add(1)
	l := newLink(p, conn)
	l.unwatch = context.AfterFunc(ctx, l.Interrupt)
	return l, nil
}

func (p *Pool) take(now time.Time) *Link {
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			return nil
		}
		l := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		if l.fresh(now) {
			return l
		}
		l.Close()
	}
}

func (p *Pool) put(l *Link) {
	l.since = time.Now()
	p.mu.Lock()
	if !p.closed {
		p.idle = append(p.idle, l)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	l.Close()
}

// Sweep closes the links that have lain idle for too long.
func (p *Pool) Sweep(now time.Time) {
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && now.Sub(p.idle[n].since) > p.cfg.Idle {
		n++
	}
	old := append([]*Link(nil), p.idle[:n]...)
	p.idle = append(p.idle[:0], p.idle[n:]...)
	p.mu.Unlock()
	for _, l := range old {
		l.Close()
	}
}

// Close closes the idle links; those in use are closed when they are released.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	old := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, l := range old {
		l.Close()
	}
}
