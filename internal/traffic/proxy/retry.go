package proxy

import (
	"strconv"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
)

// unwell reports whether a status says that the endpoint cannot serve now, and not what it thinks of the
// request.
func unwell(status int) bool { return status == 502 || status == 503 || status == 504 }

// mayRetry reports whether the request, which was sent, may be sent to another endpoint, and pays for
// it: acting on it twice must be the same as once, and the upstream's budget must have a retry left.
func (a *attempt) mayRetry() bool {
	policy := &a.m.Route.Policy
	if a.retries+1 >= policy.Attempts || !policy.RetryAll && !idempotent(a.x.Request.Method) {
		return false
	}
	if a.tried.Len() >= min(len(a.m.Upstream.Live()), maxEndpoints) || a.pastTotal() {
		return false
	}
	if policy.Budget < 0 || !a.m.Upstream.Budget.Retry() {
		return false
	}
	a.retries++
	return true
}

// giveUp drops an answer that says that the endpoint is unwell, if another endpoint may be asked
// instead. The endpoint is left alone for as long as it asks.
func (a *attempt) giveUp(link *http1.Link, head *exchange.Head, up *upload) bool {
	if after, ok := retryAfter(head.Fields.Get("Retry-After")); ok {
		a.m.Upstream.Rest(a.endpoint, after)
	}
	if up != nil || !a.mayRetry() {
		return false
	}
	a.failure = failure{status: head.Status, code: CodeUnwell, detail: "the endpoint answers that it cannot serve", retry: true}
	if _, whole := link.Body().Buffered(); whole {
		link.Skip()
		a.keep()
	} else {
		a.drop()
	}
	return true
}

// CodeUnwell is an endpoint's own 502, 503 or 504 that no other endpoint made up for.
const CodeUnwell = "TOSKA-UP-UNWELL"

// retryAfter reads a number of seconds (RFC 9110 section 10.2.3). A date is overlooked: endpoints'
// clocks are their own.
func retryAfter(v []byte) (time.Duration, bool) {
	n, err := strconv.ParseUint(string(v), 10, 16)
	if err != nil || n == 0 {
		return 0, false
	}
	return time.Duration(n) * time.Second, true
}

// perTry is how long this attempt may wait for its answer.
func (a *attempt) perTry() time.Duration {
	policy := &a.m.Route.Policy
	if policy.Total == 0 {
		return policy.PerTry
	}
	left := policy.Total - time.Since(a.x.Request.Received)
	return max(min(policy.PerTry, left), time.Millisecond)
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
