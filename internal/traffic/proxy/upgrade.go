package proxy

import (
	"errors"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/internal/traffic/websocket"
)

// refuseUpgrade answers a request for a WebSocket that its route does not take, or that is none; it reports
// whether it did. The connection ends: a client that did not wait for its answer has sent frames behind it.
func refuseUpgrade(x *exchange.Exchange, m *route.Match) bool {
	if m.Route.Policy.Upgrades == route.UpgradesNone {
		exchange.Refuse(x, errNoUpgrade)
		return true
	}
	err := websocket.CheckRequest(x.Request.Fields)
	if err == nil {
		return false
	}
	fault := &exchange.ClientError{Status: 400, Code: CodeWebSocket, Detail: err.Error()}
	if errors.Is(err, websocket.ErrVersion) {
		fault.Status = 426
	}
	exchange.Refuse(x, fault)
	return true
}

var errNoUpgrade = &exchange.ClientError{Status: 403, Code: CodeNoUpgrade, Detail: "the route takes no WebSockets"}

// upgrade joins client and endpoint after a 101 that the client asked for.
func (a *attempt) upgrade(link *http1.Link, head *exchange.Head) (over bool) {
	if wrong := a.wrongUpgrade(head); wrong != "" {
		a.drop()
		a.failure = failure{status: 502, code: CodeMalformed, detail: wrong}
		return false
	}
	a.outcome = upstream.Served
	a.x.Carrier.Leave() // two goroutines from here on
	reserved := websocket.ReservedOf(head.Fields)
	client, err := a.x.Answer.Tunnel(head)
	if err != nil {
		a.drop()
		return a.clientFault(err)
	}
	endpoint, err := link.Tunnel()
	if err == nil {
		a.tunnel(newTunnel(a, client, endpoint, reserved))
	}
	client.Abort()
	a.drop()
	return true
}

// wrongUpgrade says what is wrong with an endpoint's 101; empty if nothing is.
func (a *attempt) wrongUpgrade(head *exchange.Head) string {
	if !a.x.Request.WebSocket {
		return "the endpoint changed the protocol without being asked"
	}
	to, said := 0, false
	for i := range head.Fields {
		switch f := &head.Fields[i]; f.Kind {
		case exchange.Upgrade:
			to++
			if to > 1 || !exchange.EqualFold(f.Value, "websocket") {
				return "the endpoint changed to another protocol than it was asked to"
			}
		case exchange.Connection:
			said = said || exchange.HasToken(f.Value, "upgrade")
		default:
		}
	}
	if to == 0 || !said {
		return "the endpoint changed the protocol and does not say to which"
	}
	if err := websocket.CheckAnswer(a.x.Request.Fields, head.Fields); err != nil {
		return "the endpoint changed the protocol without a right answer to the key: " + err.Error()
	}
	return ""
}

// tunnel carries until both ends are done, and records what ended it.
func (a *attempt) tunnel(t *tunnel) {
	a.m.Path, a.m.Prefix = nil, nil // they point into a buffer that goes back
	a.p.tunnels.add(t)
	defer a.p.tunnels.remove(t)
	if table := a.p.cfg.Table(); table != nil {
		t.review(table.Standing(), false) // it may have changed while the endpoint was asked
	}
	t.join()
	switch fault := t.fault.Load(); {
	case fault == nil:
	case fault.by == websocket.Client:
		a.x.Record.Code, a.x.Record.Reason = CodeWebSocket, "the client's frames: "+fault.err.Error()
	default:
		a.outcome = upstream.Failed
		a.x.Record.Code, a.x.Record.Reason = CodeMalformed, "the endpoint's frames: "+fault.err.Error()
	}
}
