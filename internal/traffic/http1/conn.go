package http1

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/poll"
)

// Server is what all connections of a listener share. It is not modified once connections use it.
type Server struct {
	Handler  exchange.Handler
	Observer exchange.Observer
	Limits   Limits
	Timeouts Timeouts
	Buffers  *Buffers
	Log      *slog.Logger
	// Scheme of the listener: "http" or "https".
	Scheme string
	// Name of the listener.
	Name string
	// Trusted reports whether a peer is a proxy whose word on its own clients counts; nil trusts none.
	Trusted func(netip.Addr) bool
	// PlainReads reads through net.Conn alone, as connections that have no descriptor are read.
	PlainReads bool

	sessions sync.Pool // of *session
}

// Conn is a client's connection. Between exchanges it is this struct and a blocked read, no more.
type Conn struct {
	srv    *Server
	conn   net.Conn
	src    source
	write  deadline
	client netip.AddrPort
	local  netip.AddrPort
	secure *exchange.Secure // nil on a plain connection
	// accepted is when the connection came; zero once its first request has begun
	accepted time.Time
	state    atomic.Int32
	// draining makes the exchange under way the last one
	draining func() bool
	// drain is held while Drain sets its deadline
	drain sync.Mutex
	// the session that serves the current exchange; nil in between
	s *session
	// what the connection has become; nil for as long as it carries exchanges
	tunnel atomic.Pointer[tunnel]
}

// The states of a connection. Only an idle one may be closed under it.
const (
	idle int32 = iota
	active
	closing
)

// session is what an exchange needs and an idle connection does not.
type session struct {
	x    exchange.Exchange
	req  request
	body body
	ans  answer
}

// NewConn returns a connection that Serve will serve. It does not start anything.
func NewConn(srv *Server, conn net.Conn) *Conn {
	c := &Conn{srv: srv, conn: conn, accepted: time.Now()}
	c.src.start(conn, srv.Buffers, srv.PlainReads)
	c.write.set = conn.SetWriteDeadline
	c.client, c.local = addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr())
	return c
}

// Serve serves exchanges until the connection ends, and closes it. draining, once it reports true,
// makes the exchange under way the last one.
func (c *Conn) Serve(ctx context.Context, draining func() bool) {
	defer c.close()
	defer c.contain()
	c.draining = draining
	for c.serveOne(ctx) {
	}
}

// Attend is Serve for a connection of a loop: it returns at once, and the loop serves. done is called
// when the connection has ended.
func (c *Conn) Attend(ctx context.Context, draining func() bool, done func()) {
	c.draining = draining
	looped := c.src.looped
	looped.Serve(func() {
		if c.turn(ctx, looped) {
			return
		}
		c.close()
		done()
	})
}

// turn serves what has come, and reports whether the connection is parked until more comes.
func (c *Conn) turn(ctx context.Context, looped *poll.Conn) (parked bool) {
	defer c.contain()
	// The first look comes before anything else: it is what tells that the deadline has passed.
	for looked := false; ; looked = true {
		for len(c.src.pending()) == 0 {
			if looked {
				if err := c.idle(); err != nil {
					return false
				}
				if looped.Park() {
					return true
				}
			}
			looked = true
			if again, err := c.src.try(); !again && err != nil {
				return false
			}
		}
		if !c.serveOne(ctx) {
			return false
		}
	}
}

// idle sets the deadline of a connection that has nothing to do.
func (c *Conn) idle() error {
	if err := c.src.read.keep(time.Now(), c.srv.Timeouts.Idle); err != nil {
		return err
	}
	if c.state.Load() == closing || c.draining() {
		// Drain came before the connection was idle, or before the deadline of an idle one was set.
		return c.conn.SetReadDeadline(time.Now().Add(crossTime))
	}
	return nil
}

// contain lets a fault of ours outside the handler end this connection, and nothing else.
func (c *Conn) contain() {
	if v := recover(); v != nil {
		c.srv.Log.Error("panic on a connection", "panic", v, "stack", string(debug.Stack()))
	}
}

// Drain closes the connection if it is idle. One that is serving ends after its exchange. A request
// that was on its way when the connection was drained is still served, and one that has become a tunnel is
// told.
func (c *Conn) Drain() {
	if t := c.tunnel.Load(); t != nil {
		t.Wake()
		return
	}
	c.drain.Lock()
	defer c.drain.Unlock()
	if c.state.CompareAndSwap(idle, closing) {
		_ = c.conn.SetReadDeadline(time.Now().Add(crossTime))
	}
}

// Abort breaks the connection whatever it is doing.
func (c *Conn) Abort() { abandon(c.conn) }

func (c *Conn) close() {
	c.src.release()
	_ = c.conn.Close()
}

// serveOne serves one exchange and reports whether the connection may serve another.
func (c *Conn) serveOne(ctx context.Context) (keep bool) {
	if len(c.src.pending()) == 0 {
		if err := c.idle(); err != nil {
			return false
		}
		if err := c.src.fill(); err != nil {
			return false
		}
	}
	if !c.state.CompareAndSwap(idle, active) {
		// Drained in the moment the request came: it is served, and is the last.
		c.drain.Lock() // until Drain has set its deadline, which is void now
		c.src.read.until = time.Time{}
		c.drain.Unlock()
	}
	s := c.srv.session()
	c.s = s
	keep = c.exchange(ctx, s)
	c.s = nil
	c.srv.sessions.Put(s)
	c.src.unpin()
	return keep && c.state.CompareAndSwap(active, idle)
}

// bounds are those of a client while no handler sets others.
func (srv *Server) bounds() exchange.Bounds {
	return exchange.Bounds{Body: srv.Limits.Body, Rate: srv.Limits.Rate, Idle: srv.Timeouts.Stall, Ceiling: srv.Timeouts.Body}
}

func (srv *Server) session() *session {
	if s, ok := srv.sessions.Get().(*session); ok {
		return s
	}
	return &session{}
}

func (c *Conn) exchange(ctx context.Context, s *session) (keep bool) {
	s.req.reset()
	s.body.count, s.body.peeked = 0, 0
	s.x = exchange.Exchange{Body: exchange.NoBody{}, Answer: &s.ans, Bounds: c.srv.bounds()}
	if c.src.looped != nil {
		s.x.Carrier = c.src.looped.Carrier()
	}
	s.x.Record.Phase = exchange.PhaseParse
	begun := time.Now()
	if !c.accepted.IsZero() {
		s.x.Record.Phases.Accept, c.accepted = begun.Sub(c.accepted), time.Time{}
	}
	s.ans.start(c, s)
	err := c.readHead(&s.req)
	s.x.Request = s.req.Request
	c.identify(&s.x.Request)
	s.x.Record.Phases.Parse = s.x.Request.Received.Sub(begun)
	if err == nil && c.misdirected(&s.x.Request) {
		err = errMisdirected
	}
	s.ans.keep = err == nil && !s.req.close
	s.ans.oldClient = s.req.Minor == 0 && err == nil
	s.ans.head = string(s.req.Method) == "HEAD"
	if err != nil {
		return c.refuse(s, err)
	}
	if s.body.start(&c.src, &s.req.framing, &c.srv.Limits, &s.x.Bounds); s.req.Length != 0 {
		s.x.Body = &s.body
		s.body.began = s.x.Request.Received
		if s.req.expect {
			s.body.expecting = &s.ans
		}
	}
	if !c.serve(ctx, s) || !s.ans.ended {
		c.observe(s)
		c.breakOff()
		return false
	}
	c.observe(s)
	return c.settle(s)
}

// readHead reads until a head is whole. A request that is broken off before its first line is whole
// is not worth an answer.
func (c *Conn) readHead(req *request) error {
	timed := false
	seen := 0
	for {
		p := c.src.pending()
		if hasNewline(p[seen:]) || len(p) > c.srv.Limits.TargetBytes {
			req.reset()
			n, err := req.parse(p, &c.srv.Limits)
			if err == nil && c.src.room() < spareBytes && req.Length != 0 && c.src.grow() {
				continue // parse again: the slices must point into the new buffer
			}
			if err == nil {
				c.src.pin(n)
				return nil
			}
			if !errors.Is(err, errIncomplete) {
				return err
			}
		}
		seen = len(p)
		if c.src.room() == 0 && !c.src.grow() {
			return errHeadTooLong
		}
		if !timed {
			// One deadline for the whole head: bytes that trickle in do not move it.
			timed = true
			c.src.read.until = time.Time{}
			if err := c.src.read.keep(time.Now(), c.srv.Timeouts.Head); err != nil {
				return exchange.ErrClientGone
			}
		}
		if err := c.src.fill(); err != nil {
			if isTimeout(err) {
				return errHeadSlow
			}
			return exchange.ErrClientGone
		}
	}
}

var errHeadSlow = &exchange.ClientError{Status: 408, Code: exchange.CodeRequestTimeout, Detail: "the request's head took too long"}

func hasNewline(p []byte) bool {
	return bytes.IndexByte(p, '\n') >= 0
}

// identify gives the request its scheme, client, ids and time.
func (c *Conn) identify(r *exchange.Request) {
	r.Scheme, r.Listener, r.Secure = c.srv.Scheme, c.srv.Name, c.secure
	r.Client, r.Local = c.client, c.local
	r.Received = time.Now()
	for i := range r.Fields {
		f := &r.Fields[i]
		switch f.Kind {
		case exchange.RequestID:
			if len(r.ID) == 0 && saneID(f.Value) {
				r.ID = f.Value
			}
		case exchange.Hops:
			// What is no number is taken for a great one: only a loop would gain by it.
			n, ok := parseDigits(f.Value)
			if !ok || n > maxHops {
				n = maxHops
			}
			r.Hops = max(r.Hops, int(n))
		case exchange.TraceParent:
			if t, ok := exchange.ParseTrace(f.Value); ok {
				r.Trace, r.Traced = t, true
			}
		default:
		}
	}
	if c.srv.Trusted != nil && c.srv.Trusted(c.client.Addr()) {
		c.believe(r)
	}
	if r.Traced {
		r.Trace = r.Trace.Child()
	} else {
		r.Trace = exchange.NewTrace()
	}
	if len(r.ID) == 0 {
		c.s.req.ID = r.Trace.AppendID(c.s.req.ID[:0])
		r.ID = c.s.req.ID
	}
}

// believe takes over what a trusted proxy says of its client: who it is, behind any further trusted
// proxies, and which host and scheme it asked for.
func (c *Conn) believe(r *exchange.Request) {
	for i := range r.Fields {
		f := &r.Fields[i]
		if f.Kind != exchange.Forwarding {
			continue
		}
		switch {
		case exchange.EqualFold(f.Name, "x-forwarded-for"):
			r.Via = append(r.Via, f.Value)
		case exchange.EqualFold(f.Name, "x-forwarded-host") && len(r.ForwardedHost) == 0 && validHost(f.Value):
			r.ForwardedHost = f.Value
		case exchange.EqualFold(f.Name, "x-forwarded-proto") && (exchange.EqualFold(f.Value, "https") || exchange.EqualFold(f.Value, "http")):
			r.Scheme = "http"
			if len(f.Value) == len("https") {
				r.Scheme = "https"
			}
		}
	}
	for _, list := range slices.Backward(r.Via) {
		for len(list) > 0 {
			item := list
			cut := bytes.LastIndexByte(list, ',')
			if cut >= 0 {
				item, list = list[cut+1:], list[:cut]
			} else {
				list = nil
			}
			a, err := netip.ParseAddr(string(bytes.Trim(item, " \t")))
			if err != nil {
				return // what is no address is no evidence, nor is what stands before it
			}
			if a = a.Unmap(); !c.srv.Trusted(a) {
				r.Origin = a
				return
			}
			r.Origin = a
		}
	}
}

// maxHops is the greatest number of hops that is told apart.
const maxHops = 255

// saneID takes a request id that is safe to log and to pass on.
func saneID(b []byte) bool {
	return len(b) > 0 && len(b) <= 128 && all(b, &hostOctet)
}

// serve runs the handler and contains its panic: that ends the exchange and nothing else.
func (c *Conn) serve(ctx context.Context, s *session) (ok bool) {
	defer func() {
		if v := recover(); v != nil {
			s.x.Record.Code, s.x.Record.Reason = "TOSKA-INTERNAL", "panic while serving"
			c.srv.Log.Error("panic in an exchange", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	c.srv.Handler.ServeExchange(ctx, &s.x)
	return true
}

// refuse answers a request whose head cannot be served, and ends the connection.
func (c *Conn) refuse(s *session, err error) bool {
	var fault *exchange.ClientError
	if !errors.As(err, &fault) {
		if len(s.req.Method) > 0 || len(c.src.pending()) > 0 {
			s.x.Record.ClientGone = true
			c.observe(s)
		}
		return false
	}
	s.ans.keep = false
	exchange.Refuse(&s.x, fault)
	c.observe(s)
	c.linger()
	return false
}

func (c *Conn) observe(s *session) {
	r := &s.x.Record
	r.Done = time.Now()
	if r.Phase == exchange.PhaseBody || r.Phase == exchange.PhaseTunnel {
		r.Phases.Body = r.Done.Sub(r.FirstByte)
	}
	r.BytesIn, r.BytesOut = max(s.body.count, s.body.peeked), s.ans.count
	if r.Status == 0 && s.ans.started {
		r.Status = s.ans.status
	}
	if c.srv.Observer != nil {
		c.srv.Observer.Observe(&s.x)
	}
}

// settle readies the connection for its next request, or ends it so that the client reads the whole
// answer first.
func (c *Conn) settle(s *session) bool {
	if s.ans.tunneled {
		return false
	}
	whole := s.x.Body == exchange.Body(exchange.NoBody{}) || s.body.finish()
	if s.ans.keep && !whole && s.body.expecting == nil && s.body.err == nil {
		whole = s.body.discard(lingerBytes)
	}
	if s.ans.keep && whole && !c.src.read.stopped.Load() {
		return true
	}
	c.linger()
	return false
}

// linger closes in a way that does not take the answer from the client: a close with unread bytes
// would send a reset (RFC 9112 section 9.6).
func (c *Conn) linger() {
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.src.base, c.src.r, c.src.w = 0, 0, 0
	if err := c.conn.SetReadDeadline(time.Now().Add(lingerTime)); err != nil {
		return
	}
	for left := lingerBytes; left > 0; {
		if err := c.src.fill(); err != nil {
			return
		}
		left -= len(c.src.pending())
		c.src.consume(len(c.src.pending()))
	}
}

// breakOff makes sure that the client cannot take a cut answer for a whole one.
func (c *Conn) breakOff() {
	if tcp, ok := below(c.conn).(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	if s, ok := c.conn.(*Secured); ok {
		_ = s.breakOff()
	}
}
