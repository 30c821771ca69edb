package proxy

import (
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/policy"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
)

// mayRetry reports whether the request, which was sent, may be sent to another endpoint, and pays for
// it: acting on it twice must be the same as once, and the upstream's budget must have a retry left.
func (a *attempt) mayRetry() bool {
	p := &a.m.Route.Policy
	rule := policy.Rule{Attempts: p.Attempts, Budget: p.Budget, All: p.RetryAll}
	return a.tried.Allows(a.m.Upstream, rule, policy.Idempotent(string(a.x.Request.Method))) &&
		!a.pastTotal() && a.tried.Retry(a.m.Upstream, rule)
}

// giveUp drops an answer that says that the endpoint is unwell, if another endpoint may be asked
// instead. The endpoint is left alone for as long as it asks.
func (a *attempt) giveUp(link *http1.Link, head *exchange.Head, up *upload) bool {
	if after, ok := policy.RetryAfter(string(head.Fields.Get("Retry-After"))); ok {
		a.m.Upstream.Rest(a.endpoint, after)
	}
	if up != nil || !a.mayRetry() {
		return false
	}
	a.failure = failure{status: head.Status, code: CodeUnwell, detail: unwell, retry: true}
	if _, whole := link.Body().Buffered(); whole {
		link.Skip()
		a.keep()
	} else {
		a.drop()
	}
	return true
}

// perTry is how long this attempt may wait for its answer.
func (a *attempt) perTry() time.Duration {
	p := &a.m.Route.Policy
	if p.Total == 0 {
		return p.PerTry
	}
	left := p.Total - time.Since(a.x.Request.Received)
	return max(min(p.PerTry, left), time.Millisecond)
}

func (a *attempt) pastTotal() bool {
	total := a.m.Route.Policy.Total
	return total > 0 && time.Since(a.x.Request.Received) >= total
}

// host is what the endpoint is told; empty for the client's own.
func (a *attempt) host() string {
	switch host := a.m.Route.Host; {
	case host == route.HostUpstream, host == route.HostKeep && len(a.x.Request.Host) == 0:
		return a.endpoint.Addr
	case host == route.HostKeep:
		return ""
	default:
		return host
	}
}
