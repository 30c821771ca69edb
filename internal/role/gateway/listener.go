package gateway

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/listen"
	"github.com/toska-mesh/toska-mesh/internal/traffic/poll"
	"github.com/toska-mesh/toska-mesh/internal/traffic/proxy"
)

// Listener is an address that the gateway serves.
type Listener struct {
	// Name of the listener, which exchanges carry.
	Name string
	// Listener is accepted on, and stays open: it belongs to the caller.
	Listener net.Listener
	// TLS is spoken there; nil for a plain one.
	TLS *tls.Config
	// Proxied connections begin with a PROXY header of a trusted proxy.
	Proxied bool
	// RedirectPort is the port over TLS that each request is sent to; empty to serve it.
	RedirectPort string
}

// serve serves one listener. All share handler and buffers.
func (g *Gateway) serve(l *Listener, h exchange.Handler, buffers *http1.Buffers, loops *poll.Loops) func(context.Context) error {
	if l.RedirectPort != "" {
		h = &proxy.Redirect{Port: l.RedirectPort, Next: h}
	}
	scheme := "http"
	if l.TLS != nil {
		scheme = "https"
	}
	srv := listen.Server{
		HTTP: &http1.Server{
			Handler: h, Observer: g.observer, Limits: g.cfg.Limits, Timeouts: g.cfg.Timeouts,
			Buffers: buffers, Log: g.ports.Log, Scheme: scheme, Name: l.Name, Trusted: g.trusts,
		},
		Loops: loops,
		Wait:  g.cfg.Wait, Grace: g.cfg.Grace, Log: g.ports.Log, TLS: l.TLS, Proxied: l.Proxied, Counts: &g.counts,
	}
	return func(ctx context.Context) error { return srv.Serve(ctx, l.Listener) }
}

// Refused returns how many connections came to nothing before their first request: handshakes of TLS that
// failed, and PROXY headers that were not taken.
func (g *Gateway) Refused() (handshakes, headers int64) {
	return g.counts.Handshakes.Load(), g.counts.Headers.Load()
}
