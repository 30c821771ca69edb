// Package policy holds the rules around an attempt that do not depend on who makes it: which requests may be
// sent again and how often, which answers say that an endpoint is unwell, and what a failed connection is
// called. The gateway and the SDK follow the same.
//
// # Concurrency
//
// Functions are pure. Tries belongs to one request and to the goroutine that serves it; the budget that it
// spends is the upstream's, and shared.
package policy

import (
	"strconv"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/balance"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
)

// MaxEndpoints bounds how many endpoints are tried for one request when none can be connected to.
const MaxEndpoints = min(4, balance.MaxTried)

// Rule says how often a request that was sent may be sent again.
type Rule struct {
	// Attempts at endpoints, the first among them; 1 means no retry.
	Attempts int
	// Budget is the share of requests that may be retried, as 0.2; negative for none.
	Budget float64
	// All retries requests too that are not idempotent.
	All bool
}

// DefaultRule is what holds where nothing is configured: one retry of what is idempotent, for a fifth of
// the requests.
func DefaultRule() Rule { return Rule{Attempts: 2, Budget: 0.2} }

// Tries is what was tried for one request. The zero value is nothing.
type Tries struct {
	// Tried are the endpoints, for Upstream.Acquire.
	balance.Tried
	retries int
}

// More reports whether another endpoint may be tried where nothing was sent yet.
func (t *Tries) More() bool { return t.Len() < MaxEndpoints }

// Allows reports whether the rule and the endpoints that are left let a request that was sent be sent to
// another one. Nothing is paid.
func (t *Tries) Allows(u *upstream.Upstream, r Rule, idempotent bool) bool {
	return t.retries+1 < r.Attempts && (r.All || idempotent) && t.Len() < min(len(u.Live()), MaxEndpoints)
}

// Retry counts a retry that Allows lets through, and pays for it: it is false when the upstream's budget
// has none left.
func (t *Tries) Retry(u *upstream.Upstream, r Rule) bool {
	if r.Budget < 0 || !u.Budget.Retry() {
		return false
	}
	t.retries++
	return true
}

// Idempotent reports whether acting twice on a request of the method is the same as once (RFC 9110 section
// 9.2.2).
func Idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE":
		return true
	}
	return false
}

// Unwell reports whether a status says that the endpoint cannot serve now, and not what it thinks of the
// request.
func Unwell(status int) bool { return status == 502 || status == 503 || status == 504 }

// RetryAfter reads the field of that name, a number of seconds (RFC 9110 section 10.2.3). A date is
// overlooked: endpoints' clocks are their own.
func RetryAfter(v string) (time.Duration, bool) {
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil || n == 0 {
		return 0, false
	}
	return time.Duration(n) * time.Second, true
}
