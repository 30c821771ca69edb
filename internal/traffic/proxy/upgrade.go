package proxy

import (
	"sync"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
)

// upgrade joins client and endpoint after a 101 that the client asked for.
func (a *attempt) upgrade(link *http1.Link, head *exchange.Head) (over bool) {
	if !a.x.Request.WebSocket {
		link.Close()
		a.failure = failure{status: 502, code: CodeMalformed, detail: "the endpoint changed the protocol without being asked"}
		return false
	}
	if to, _ := head.Fields.Find(exchange.Upgrade); !exchange.EqualFold(to.Value, "websocket") {
		link.Close()
		a.failure = failure{status: 502, code: CodeMalformed, detail: "the endpoint changed to another protocol than it was asked to"}
		return false
	}
	a.outcome = upstream.Served
	client, err := a.x.Answer.Tunnel(head)
	if err != nil {
		link.Close()
		return a.clientFault(err)
	}
	endpoint, err := link.Tunnel()
	if err == nil {
		join(client, endpoint)
	}
	client.Abort()
	link.Close()
	return true
}

// join copies both ways until both ends are done. An end that breaks ends the other.
func join(client, endpoint exchange.Tunnel) {
	var up sync.WaitGroup
	up.Go(func() { pour(endpoint, client) })
	pour(client, endpoint)
	up.Wait()
}

// pour copies one way. A clean end is passed on as one; anything else breaks both.
func pour(to, from exchange.Tunnel) {
	for {
		p, err := from.Next()
		if err == nil {
			_, err = to.Write(p)
		}
		if err == nil {
			continue
		}
		if !isEOF(err) || to.CloseWrite() != nil {
			to.Abort()
			from.Abort()
		}
		return
	}
}
