package proxy

import (
	"cmp"
	"sync"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
)

// upgrade joins client and endpoint after a 101 that the client asked for.
func (a *attempt) upgrade(link *http1.Link, head *exchange.Head) (over bool) {
	if !a.x.Request.WebSocket {
		a.drop()
		a.failure = failure{status: 502, code: CodeMalformed, detail: "the endpoint changed the protocol without being asked"}
		return false
	}
	if to, _ := head.Fields.Find(exchange.Upgrade); !exchange.EqualFold(to.Value, "websocket") {
		a.drop()
		a.failure = failure{status: 502, code: CodeMalformed, detail: "the endpoint changed to another protocol than it was asked to"}
		return false
	}
	a.outcome = upstream.Served
	client, err := a.x.Answer.Tunnel(head)
	if err != nil {
		a.drop()
		return a.clientFault(err)
	}
	endpoint, err := link.Tunnel()
	if err == nil {
		join(client, endpoint)
	}
	client.Abort()
	a.drop()
	return true
}

// join copies both ways until both ends are done. An end that breaks ends the other.
func join(client, endpoint exchange.Tunnel) {
	var up sync.WaitGroup
	var there, back *panicked
	up.Go(func() { there = contained(endpoint, client) })
	back = contained(client, endpoint)
	up.Wait()
	if p := cmp.Or(back, there); p != nil {
		panic(p)
	}
}

// contained pours, and breaks both ends if that panics: the other direction must not outlive it.
func contained(to, from exchange.Tunnel) (p *panicked) {
	defer func() {
		if v := recover(); v != nil {
			p = newPanicked("a tunnel", v)
			to.Abort()
			from.Abort()
		}
	}()
	pour(to, from)
	return nil
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
