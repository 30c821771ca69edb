package toska

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/toska-mesh/toska-mesh/internal/traffic/policy"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// fairTime is what an endpoint must have had of a deadline before missing it counts against the endpoint at
// once: how short the deadline was is the caller's affair, until one was missed after the other.
const fairTime = time.Second

// call is what is tried for one request: one endpoint after the other.
type call struct {
	client   *Client
	req      *http.Request
	up       *upstream.Upstream
	body     *source
	tries    policy.Tries
	failures []failedAttempt
}

// try returns the answer of the first endpoint that has one, or why none has.
func (a *call) try() (*http.Response, error) {
	a.up.Budget.Request(a.client.rule.Budget)
	for a.tries.More() {
		if err := a.req.Context().Err(); err != nil {
			return nil, a.ended(err)
		}
		e := a.up.Acquire(&a.tries.Tried)
		if e == nil {
			break
		}
		res, again, err := a.attempt(e)
		if !again {
			return res, err
		}
	}
	return nil, a.unanswered()
}

// attempt asks one endpoint. again says that another one may be asked.
func (a *call) attempt(e *upstream.Endpoint) (res *http.Response, again bool, err error) {
	t := &attempt{up: a.up, endpoint: e, began: time.Now(), caller: a.req.Context()}
	var body io.ReadCloser
	if body, err = a.body.next(); err != nil {
		t.end(upstream.Neutral, "")
		return nil, false, err
	}
	ctx := a.span(t)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { t.connected.Store(true) }})
	res, err = a.client.transport.RoundTrip(a.outgoing(ctx, e, body))
	if err != nil {
		again, err = a.failed(t, err)
		return nil, again, err
	}
	t.status(res.StatusCode)
	outcome := upstream.Served
	if policy.Unwell(res.StatusCode) {
		outcome = upstream.Failed
		if after, ok := policy.RetryAfter(res.Header.Get("Retry-After")); ok {
			a.up.Rest(e, after)
		}
		if a.mayRetry() {
			_ = res.Body.Close()
			a.note(e, policy.CodeUnwell, "it answered "+strconv.Itoa(res.StatusCode), nil)
			t.end(outcome, "")
			return nil, true, nil
		}
	}
	a.body.settle()
	res.Request = a.req
	t.carry(res, outcome)
	return res, false, nil
}

// outgoing is the request as the endpoint gets it.
func (a *call) outgoing(ctx context.Context, e *upstream.Endpoint, body io.ReadCloser) *http.Request {
	out := a.req.WithContext(ctx)
	url := *a.req.URL
	url.Scheme, url.Host, url.User = "http", e.Addr, nil
	if isSecure(e) {
		url.Scheme = "https"
	}
	out.URL, out.Body, out.GetBody = &url, body, a.req.GetBody
	if out.Host == a.req.URL.Host {
		out.Host = ""
	}
	out.Header = a.req.Header.Clone()
	if out.Header == nil {
		out.Header = http.Header{}
	}
	Carry(ctx, out.Header)
	return out
}

// mayRetry reports whether the request, which was sent, may be sent to another endpoint, and pays for it.
func (a *call) mayRetry() bool {
	idempotent := policy.Idempotent(a.req.Method) || a.req.Method == "" || a.req.Header.Get("Idempotency-Key") != ""
	return a.body.again() && a.req.Context().Err() == nil &&
		a.tries.Allows(a.up, a.client.rule, idempotent) && a.tries.Retry(a.up, a.client.rule)
}

// failed finds out whose fault it is that there is no answer, and whether another endpoint may be asked.
func (a *call) failed(t *attempt, err error) (again bool, _ error) {
	var unsent *undialled
	ended := a.req.Context().Err()
	switch {
	case a.body.fault() != nil:
		t.end(upstream.Neutral, typeCanceled)
		return false, a.body.fault()
	case ended != nil:
		outcome := upstream.Neutral
		if errors.Is(ended, context.DeadlineExceeded) {
			outcome = upstream.Missed
			if time.Since(t.began) >= fairTime {
				outcome = upstream.Failed
			}
		}
		a.note(t.endpoint, policy.CodeTimeout, "it had not answered when the caller's time was over", ended)
		t.end(outcome, typeCanceled)
		return false, a.ended(ended)
	case errors.As(err, &unsent):
		code, detail := policy.Undialled(err)
		a.note(t.endpoint, code, detail, err)
		t.end(upstream.Failed, code)
		again = a.body.untouched()
	case !t.connected.Load():
		// The request itself cannot be sent.
		t.end(upstream.Neutral, mesh.CodeInvalid)
		return false, err
	default:
		code, detail := unanswered(err)
		a.note(t.endpoint, code, detail, err)
		t.end(upstream.Failed, code)
		again = a.mayRetry()
	}
	if again {
		return true, nil
	}
	return false, a.unanswered()
}

// attempt is one try at one endpoint.
type attempt struct {
	up        *upstream.Upstream
	endpoint  *upstream.Endpoint
	span      trace.Span
	began     time.Time
	caller    context.Context // of the request, which the body of its answer lives in
	connected atomic.Bool
	over      atomic.Bool
}

// end gives the endpoint back, once. The problem is a code, or empty for none.
func (t *attempt) end(outcome upstream.Outcome, problem string) {
	if !t.over.CompareAndSwap(false, true) {
		return
	}
	t.up.Release(t.endpoint, outcome)
	t.endSpan(problem)
}

// carry ends the attempt with the answer's body: until then the endpoint is serving.
func (t *attempt) carry(res *http.Response, outcome upstream.Outcome) {
	if res.Body == http.NoBody {
		t.end(outcome, "")
		return
	}
	b := &answer{ReadCloser: res.Body, attempt: t, outcome: outcome}
	if both, ok := res.Body.(io.ReadWriteCloser); ok {
		res.Body = &tunnel{answer: b, Writer: both}
		return
	}
	res.Body = b
}

// answer is the body of an answer.
type answer struct {
	io.ReadCloser
	attempt *attempt
	outcome upstream.Outcome
}

// Read ends the attempt with the body.
func (b *answer) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		b.attempt.end(b.outcome, "")
	case b.attempt.caller.Err() != nil:
		b.attempt.end(upstream.Neutral, typeCanceled)
	default:
		b.attempt.end(upstream.Failed, codeCut)
	}
	return n, err
}

// Close ends the attempt with what is known of it.
func (b *answer) Close() error {
	err := b.ReadCloser.Close()
	b.attempt.end(b.outcome, "")
	return err
}

// tunnel is the body of an answer that switched protocols: it is written to as well.
type tunnel struct {
	*answer
	io.Writer
}
