package proxy

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/internal/traffic/websocket"
)

const (
	// borderTime is how long a tunnel that is to end may take to come to a border of frames in both
	// directions.
	borderTime = 30 * time.Second
	// answerTime is how long both ends have to answer a close frame and to close.
	answerTime = 3 * time.Second
	// halfTime is how long an end may go on alone: half a WebSocket has no meaning.
	halfTime = 30 * time.Second
)

// tunnel is a WebSocket: two directions, each with a goroutine that alone reads from one end and writes to
// the other. Whoever else wants something of it says so in an atomic and wakes them.
type tunnel struct {
	client, endpoint exchange.Tunnel
	up, down         direction

	route   *route.Route // that it came by, as it was then
	service string
	to      *upstream.Endpoint
	idle    time.Duration // 0 for ever

	began time.Time
	// Times after began; 0 for none: when the last byte came, since when route or endpoint have gone, when
	// the tunnel is to be closed for that, and when it ends whatever state it is in.
	active, gone, leaveBy, endBy atomic.Int64
	// status to close with; 0 while nothing is to be closed.
	status atomic.Uint32
	fault  atomic.Pointer[frameFault]
}

// frameFault is a frame that cannot be, and whose it is.
type frameFault struct {
	by  websocket.Sender
	err error
}

func newTunnel(a *attempt, client, endpoint exchange.Tunnel, reserved websocket.Reserved) *tunnel {
	t := &tunnel{
		client: client, endpoint: endpoint, began: time.Now(),
		route: a.m.Route, service: a.m.Upstream.Service, to: a.endpoint, idle: a.m.Route.Policy.Tunnel,
	}
	t.up = direction{t: t, from: client, to: endpoint, other: &t.down, sender: websocket.Client, frames: websocket.NewScanner(websocket.Client, reserved)}
	t.down = direction{t: t, from: endpoint, to: client, other: &t.up, sender: websocket.Endpoint, frames: websocket.NewScanner(websocket.Endpoint, reserved)}
	return t
}

// join carries both ways until both directions are done.
func (t *tunnel) join() {
	var up sync.WaitGroup
	var there, back *panicked
	up.Go(func() { there = t.up.contained() })
	back = t.down.contained()
	up.Wait()
	if p := cmp.Or(back, there); p != nil {
		panic(p)
	}
}

func (t *tunnel) now() int64 { return max(int64(time.Since(t.began)), 1) }

func (t *tunnel) abort() {
	t.client.Abort()
	t.endpoint.Abort()
}

func (t *tunnel) wake() {
	t.client.Wake()
	t.endpoint.Wake()
}

// leave has both directions closed with a status at their next border.
func (t *tunnel) leave(status uint32) {
	if t.status.CompareAndSwap(0, status) {
		t.endWithin(borderTime)
		t.wake()
	}
}

// endWithin makes the tunnel end after d, unless it ends before.
func (t *tunnel) endWithin(d time.Duration) {
	by := t.now() + int64(d)
	for {
		was := t.endBy.Load()
		if was != 0 && was <= by {
			return
		}
		if t.endBy.CompareAndSwap(was, by) {
			break
		}
	}
	// A direction that waits to write must end too.
	_ = t.client.WriteUntil(t.began.Add(time.Duration(by)))
	_ = t.endpoint.WriteUntil(t.began.Add(time.Duration(by)))
	t.wake()
}

// due does what the time or somebody else asks for, and reports whether the tunnel is over.
func (t *tunnel) due() (over bool) {
	now := t.now()
	if by := t.endBy.Load(); by != 0 && by <= now {
		return true
	}
	by := t.leaveBy.Load()
	if t.client.Draining() || by != 0 && by <= now || t.idle > 0 && now-t.active.Load() >= int64(t.idle) {
		t.leave(websocket.GoingAway)
	}
	return false
}

// review compares the tunnel with a table: it is closed when its route or its endpoint has been gone for as
// long as the route lets it stay. One that has come back stays, if returns says that it may.
func (t *tunnel) review(s *route.Standing, returns bool) {
	policy, stands := s.Of(t.route, t.service, t.to)
	if stands {
		if returns && t.gone.Swap(0) != 0 && t.leaveBy.Swap(0) != 0 && t.endBy.Load() == 0 {
			_ = t.client.WriteUntil(time.Time{})
			_ = t.endpoint.WriteUntil(time.Time{})
		}
		return
	}
	t.gone.CompareAndSwap(0, t.now())
	by := int64(0)
	if policy.Drain > 0 {
		by = t.gone.Load() + int64(policy.Drain)
	}
	if t.leaveBy.Swap(by) == by || t.endBy.Load() != 0 {
		return
	}
	// Ends that read nothing keep both directions from hearing of it: their writes end as well.
	late := time.Time{}
	if by != 0 {
		late = t.began.Add(time.Duration(by) + borderTime)
	}
	_ = t.client.WriteUntil(late)
	_ = t.endpoint.WriteUntil(late)
	t.wake()
}

// tunnels are those that are open.
type tunnels struct {
	mu   sync.Mutex
	open map[*tunnel]struct{} // guarded by mu
}

func (s *tunnels) add(t *tunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*tunnel]struct{}{}
	}
	s.open[t] = struct{}{}
}

func (s *tunnels) remove(t *tunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, t)
}

func (s *tunnels) list() []*tunnel {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*tunnel, 0, len(s.open))
	for t := range s.open {
		out = append(out, t)
	}
	return out
}

// Review holds what is open against the current table, after it changed and from time to time. Idle
// connections to endpoints that may not be picked are closed; tunnels whose route or endpoint has gone are
// closed as the route says, which is not waited for. One call goes before the next.
func (p *Proxy) Review(table *route.Table) {
	table.Resting(func(e *upstream.Endpoint) { e.Connections.(*http1.Pool).CloseIdle() })
	open := p.tunnels.list()
	if len(open) == 0 {
		return
	}
	s := table.Standing()
	for _, t := range open {
		t.review(s, true)
	}
}

// Tunnels returns how many tunnels are open.
func (p *Proxy) Tunnels() int {
	p.tunnels.mu.Lock()
	defer p.tunnels.mu.Unlock()
	return len(p.tunnels.open)
}
