package app

import (
	"cmp"
	"context"
	"crypto/tls"
	"maps"
	"net"
	"slices"
	"strconv"

	"github.com/toska-mesh/toska-mesh/internal/role/gateway"
	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
)

// gatewayListener is one listener of the gateway before it is bound.
type gatewayListener struct {
	name, address string
	spec          routefile.Listener
}

// gatewayListeners returns the plain one first, the others by name.
func (a *App) gatewayListeners() []gatewayListener {
	out := []gatewayListener{{name: listenGateway, address: a.cfg.ListenGateway}}
	if a.cfg.File == nil {
		return out
	}
	out[0].spec = a.cfg.File.Listeners[routefile.GatewayListener]
	for _, name := range slices.Sorted(maps.Keys(a.cfg.File.Listeners)) {
		l := gatewayListener{name: name, spec: a.cfg.File.Listeners[name]}
		switch name {
		case routefile.GatewayListener:
			continue
		case routefile.GatewayTLSListener:
			l.address = a.cfg.ListenGatewayTLS
		default:
			l.address = l.spec.Address.HostPort
		}
		out = append(out, l)
	}
	return out
}

func (a *App) bindGateway(ctx context.Context) error {
	for _, l := range a.gatewayListeners() {
		if err := a.listeners.bind(ctx, l.name, l.address); err != nil {
			return err
		}
	}
	return nil
}

// served returns the gateway's listeners as they are bound, and what answers their own paths.
func (a *App) served() ([]gateway.Listener, exchange.Handler) {
	var out []gateway.Listener
	own := internalHandlers{}
	for _, l := range a.gatewayListeners() {
		g := gateway.Listener{Name: l.name, Listener: a.listeners[l.name], TLS: a.serverTLS(l.name), Proxied: l.spec.ProxyProtocol}
		if l.spec.Redirect {
			g.RedirectPort = a.securePort()
		}
		out = append(out, g)
		about := a.describeGateway(l)
		own[l.name] = httpapi.NewExchangeHandler(a.internalHandler(about), about)
	}
	return out, own
}

// serverTLS returns the configuration of a listener that speaks TLS; nil for any other.
func (a *App) serverTLS(name string) *tls.Config {
	if s := a.trust.servers[name]; s != nil {
		return s.TLS()
	}
	return nil
}

// securePort is the port that plain listeners redirect to.
func (a *App) securePort() string {
	for _, name := range a.cfg.File.Secure() {
		if addr, ok := a.listeners[name].Addr().(*net.TCPAddr); ok {
			return strconv.Itoa(addr.Port)
		}
	}
	return "443"
}

// describeGateway says what the access rules need to know of a listener of the gateway. Behind one that
// takes a PROXY header clients are elsewhere, wherever it is bound.
func (a *App) describeGateway(l gatewayListener) httpapi.Listener {
	about := a.listeners.describe(l.name, l.address, false)
	about.Name = httpapi.ListenerGateway
	about.Loopback = about.Loopback && !l.spec.ProxyProtocol
	return about
}

// internalHandlers answer the gateway's own paths by the rules of the listener that was asked.
type internalHandlers map[string]exchange.Handler

// ServeExchange implements exchange.Handler.
func (h internalHandlers) ServeExchange(ctx context.Context, x *exchange.Exchange) {
	h[cmp.Or(x.Request.Listener, listenGateway)].ServeExchange(ctx, x)
}
