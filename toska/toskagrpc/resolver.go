package toskagrpc

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"

	"github.com/toska-mesh/toska-mesh/toska"
)

// NewResolver returns a resolver of targets such as toska:///orders, for grpc.WithResolvers. Dial has it.
func NewResolver(c *toska.Client) resolver.Builder { return &builder{c} }

type builder struct{ client *toska.Client }

// Scheme implements resolver.Builder.
func (*builder) Scheme() string { return Scheme }

// Build implements resolver.Builder.
func (b *builder) Build(target resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	u, err := b.client.Upstream(target.Endpoint())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{upstream: u, cc: cc, cancel: cancel}
	w.running.Go(func() { w.run(ctx) })
	return w, nil
}

// watcher tells a connection of its service's endpoints.
type watcher struct {
	upstream *toska.Upstream
	cc       resolver.ClientConn
	cancel   context.CancelFunc
	running  sync.WaitGroup
	told     bool // of endpoints, the last time; run's alone
}

// ResolveNow implements resolver.Resolver: what is known is told at once anyway.
func (*watcher) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements resolver.Resolver.
func (w *watcher) Close() {
	w.cancel()
	w.running.Wait()
	w.upstream.Close()
}

func (w *watcher) run(ctx context.Context) {
	for {
		list, changed, _ := w.upstream.Endpoints()
		w.tell(ctx, list)
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// tell hands the endpoints on, or the reason why there are none.
func (w *watcher) tell(ctx context.Context, list []toska.Endpoint) {
	if len(list) == 0 {
		if w.told {
			// It parts with its connections before it learns the reason.
			_ = w.cc.UpdateState(resolver.State{})
		}
		w.told = false
		if err := w.why(ctx); err != nil && ctx.Err() == nil {
			w.cc.ReportError(err)
		}
		return
	}
	var state resolver.State
	for _, e := range list {
		if e.Secure {
			continue // its credentials would be those of all
		}
		state.Addresses = append(state.Addresses, resolver.Address{Addr: e.Addr,
			Attributes: attributes.New(upstreamKey{}, w.upstream)})
	}
	if len(state.Addresses) == 0 {
		w.told = false
		w.cc.ReportError(errSecure)
		return
	}
	w.told = true
	_ = w.cc.UpdateState(state) // it is told again when something changes
}

var errSecure = errors.New("every instance asks for TLS (metadata scheme: https), which toskagrpc does not speak; dial their addresses with credentials of their own")

// why is nil if there is an endpoint by now.
func (w *watcher) why(ctx context.Context) error {
	call, err := w.upstream.Call(ctx)
	if err != nil {
		return err
	}
	a, err := call.Next()
	if err != nil {
		return err
	}
	a.End(toska.Neutral)
	return nil
}

type upstreamKey struct{}
