package proxy_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/proxy"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// pipeRig is a data plane over pipes, for bubbles of synctest: its clock stands still while it works.
type pipeRig struct {
	*rig
	srv  *http1.Server
	work sync.WaitGroup
	ends []io.Closer
	mu   sync.Mutex // guards ends
}

// newPipeRig serves the connections to the one endpoint of "svc" with upstream. Close it before the
// bubble ends.
func newPipeRig(t testing.TB, upstream func(c net.Conn)) *pipeRig {
	t.Helper()
	return newPipeRigOf(t, route.Policy{}, upstream)
}

// newPipeRigOf is newPipeRig with something else than the default policy.
func newPipeRigOf(t testing.TB, policy route.Policy, upstream func(c net.Conn)) *pipeRig {
	t.Helper()
	r := &pipeRig{rig: &rig{t: t, records: make(chan observed, 64)}}
	links := http1.DefaultLinkConfig()
	links.Dial = func(context.Context, string) (net.Conn, error) {
		near, far := net.Pipe()
		r.keep(near, far)
		r.work.Go(func() {
			defer far.Close()
			upstream(far)
		})
		return near, nil
	}
	p := proxy.New(proxy.Config{Table: func() *route.Table { return r.table.Load() }, Internal: internalOK{}, Links: &links})
	snap := &mesh.Snapshot{Revision: mesh.Revision{Epoch: 1, Number: 1}, Services: map[string][]*mesh.Instance{
		"svc": {{ID: "svc-0", Service: "Svc", Address: "pipe", Port: 1}},
	}}
	r.proxy, r.input = p, route.Input{Prefix: route.DefaultPrefix, Snapshot: snap, Set: &route.Set{Defaults: policy}}
	r.table.Store(route.Build(nil, r.input, p.Open))
	r.srv = &http1.Server{
		Handler: p, Observer: r, Limits: http1.DefaultLimits(), Timeouts: http1.DefaultTimeouts(),
		Buffers: http1.NewBuffers(http1.DefaultLimits()), Log: slog.New(slog.DiscardHandler), Scheme: "http",
	}
	return r
}

func (r *pipeRig) keep(ends ...io.Closer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends = append(r.ends, ends...)
}

// connect returns a client's connection.
func (r *pipeRig) connect() net.Conn {
	near, far := net.Pipe()
	r.keep(near, far)
	c := http1.NewConn(r.srv, near)
	r.work.Go(func() { c.Serve(context.Background(), func() bool { return false }) })
	return far
}

func (r *pipeRig) close() {
	r.mu.Lock()
	ends := r.ends
	r.mu.Unlock()
	for _, c := range ends {
		_ = c.Close()
	}
	r.work.Wait()
}

// readHead reads up to an empty line.
func readHead(br *bufio.Reader) string {
	var b strings.Builder
	for {
		line, err := br.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String()
		}
	}
}

// between reports whether d lies between a timeout and a quarter more, as deadlines that move lazily do.
func between(d, timeout time.Duration) bool {
	return d >= timeout && d <= timeout+timeout/4+time.Second
}
