package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
)

func isEOF(err error) bool     { return errors.Is(err, io.EOF) }
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// failDial records a connection that was not made: nothing was sent, so another endpoint may be tried.
func (a *attempt) failDial(ctx context.Context, err error) (over bool) {
	if ctx.Err() != nil {
		a.x.Record.Code = exchange.CodeShutdown
		return true
	}
	a.failure = failure{status: 502, code: CodeConnFailed, detail: "the endpoint could not be connected to", unsent: true}
	a.outcome = upstream.Failed
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		a.failure.code, a.failure.detail = CodeDNS, "the endpoint's name could not be resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		a.failure.code, a.failure.detail = CodeRefused, "the endpoint refused the connection"
	case errors.As(err, &timeout) && timeout.Timeout():
		a.failure = failure{status: 504, code: CodeConnTimeout, detail: "the endpoint did not accept the connection in time", unsent: true}
	}
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
	default:
		a.failure = failure{status: 502, code: CodeReset, detail: "the endpoint closed the connection without an answer"}
	}
	a.failure.retry = replayable && a.mayRetry()
	return false
}
