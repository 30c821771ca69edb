package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"net/http"
	"net/url"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// NewExchangeHandler returns the adapter through which the gateway hands an exchange to an
// http.Handler in the same process. The handler sees a request without a body, as from the listener
// that the gateway's port is; its answer is gathered whole, so it is for small ones.
func NewExchangeHandler(h http.Handler, l Listener) exchange.Handler {
	return exchangeHandler{h: withRequestID(ownSite(l, h)), l: l}
}

// ownSite keeps foreign pages out, as Guard does. It looks at no token: what clients of the gateway
// send in Authorization is meant for their own services.
func ownSite(l Listener, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := cmp.Or(checkOrigin(r), checkHost(l, r)); err != nil {
			WriteProblem(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

type exchangeHandler struct {
	h http.Handler
	l Listener
}

// ServeExchange implements exchange.Handler.
func (e exchangeHandler) ServeExchange(ctx context.Context, x *exchange.Exchange) {
	// The exchange has an id, and the access log knows it by that.
	ctx = context.WithValue(NewListenerContext(ctx, e.l), requestIDKey{}, string(x.Request.ID))
	r, err := newRequest(ctx, x)
	if err != nil {
		exchange.Problem(x, http.StatusBadRequest, exchange.CodeBadPath, "the request target is not a path")
		return
	}
	w := gathered{header: http.Header{}, status: http.StatusOK}
	e.h.ServeHTTP(&w, r)
	head := exchange.Head{Status: w.status, Length: int64(w.body.Len())}
	for name, values := range w.header {
		for _, v := range values {
			head.Fields = append(head.Fields, exchange.Field{
				Name: []byte(name), Value: []byte(v), Kind: exchange.KindOf([]byte(name)),
			})
		}
	}
	if x.Answer.Start(&head) != nil || x.Answer.Write(w.body.Bytes(), true) != nil || x.Answer.End(nil) != nil {
		x.Record.ClientGone = true
	}
}

func newRequest(ctx context.Context, x *exchange.Exchange) (*http.Request, error) {
	u := url.URL{Path: string(x.Request.Path), RawQuery: string(x.Request.Query)}
	r, err := http.NewRequestWithContext(ctx, string(x.Request.Method), u.RequestURI(), nil)
	if err != nil {
		return nil, err
	}
	r.Host = string(x.Request.Host)
	r.RemoteAddr = x.Request.Client.String()
	for _, f := range x.Request.Fields {
		r.Header.Add(string(f.Name), string(f.Value))
	}
	r.Header.Set("traceparent", string(x.Request.Trace.AppendParent(nil))) // the one that the access log has
	return r, nil
}

// gathered is an answer that is sent when it is whole.
type gathered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (g *gathered) Header() http.Header         { return g.header }
func (g *gathered) WriteHeader(status int)      { g.status = status }
func (g *gathered) Write(p []byte) (int, error) { return g.body.Write(p) }
