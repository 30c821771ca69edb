package proxy

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/policy"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
)

func isEOF(err error) bool     { return errors.Is(err, io.EOF) }
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// failDial records a connection that was not made: nothing was sent, so another endpoint may be tried.
func (a *attempt) failDial(ctx context.Context, err error) (over bool) {
	a.x.Record.Phases.Dial += a.lap(time.Now())
	if ctx.Err() != nil {
		a.x.Record.Code = exchange.CodeShutdown
		return true
	}
	a.outcome = upstream.Failed
	if errors.Is(err, http1.ErrHandshake) || errors.Is(err, http1.ErrTrust) {
		a.failure = failSecure(err)
		if errors.Is(err, http1.ErrTrust) {
			a.outcome = upstream.Neutral // the fault is ours
		}
		return false
	}
	a.failure = failure{status: 502, unsent: true}
	a.failure.code, a.failure.detail = policy.Undialled(err)
	if a.failure.code == CodeConnTimeout {
		a.failure.status = 504
	}
	a.outcome = upstream.Failed
	return false
}

// failReceive records a request that was sent and not answered. replayable says that all of it is
// still here.
func (a *attempt) failReceive(err error, replayable bool) (over bool) {
	a.outcome = upstream.Failed
	switch {
	case isTimeout(err):
		a.failure = failure{status: 504, code: CodeTimeout, detail: "the endpoint did not answer in time"}
	case errors.Is(err, http1.ErrMalformed):
		a.failure = failure{status: 502, code: CodeMalformed, detail: "the endpoint's answer is malformed", cause: err.Error()}
	case refusedUs(err):
		a.failure = failure{status: 502, code: CodeTLSHandshake, cause: err.Error(),
			detail: "the endpoint ended the TLS connection: it may want a certificate that it was not shown"}
	default:
		a.failure = failure{status: 502, code: CodeReset, detail: "the endpoint closed the connection without an answer"}
	}
	a.failure.retry = replayable && a.mayRetry()
	return false
}
