package toskagrpc

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/toska-mesh/toska-mesh/toska"
)

// BalancerName is that of the balancer in a gRPC service config.
const BalancerName = "toska"

// gRPC finds balancers by name in a registry of the process that may be written only while packages are
// initialised.
var _ = register()

func register() bool {
	balancer.Register(base.NewBalancerBuilder(BalancerName, pickers{}, base.Config{}))
	return true
}

// pickers makes a picker of the endpoints that are connected to.
type pickers struct{}

// Build implements base.PickerBuilder.
func (pickers) Build(info base.PickerBuildInfo) balancer.Picker {
	if len(info.ReadySCs) == 0 {
		return base.NewErrPicker(balancer.ErrNoSubConnAvailable)
	}
	p := &picker{ready: make(map[string]balancer.SubConn, len(info.ReadySCs))}
	for sc, i := range info.ReadySCs {
		p.ready[i.Address.Addr] = sc
		p.all = append(p.all, sc)
		p.upstream, _ = i.Address.Attributes.Value(upstreamKey{}).(*toska.Upstream)
	}
	return p
}

// picker picks as the client does, of those that are connected to.
type picker struct {
	upstream *toska.Upstream // nil where another resolver found the addresses
	ready    map[string]balancer.SubConn
	all      []balancer.SubConn
}

// tries bounds how many endpoints that are not connected to are passed over.
const tries = 8

// fairTime is what an endpoint must have had of a deadline before missing it counts against the endpoint
// at once.
const fairTime = time.Second

// Pick implements balancer.Picker.
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	call := callFrom(info.Ctx)
	if call == nil && p.upstream != nil {
		call, _ = p.upstream.Call(info.Ctx)
	}
	for range tries {
		if call == nil {
			break
		}
		a, err := call.Next()
		if err != nil {
			break
		}
		if sc, ok := p.ready[a.Addr]; ok {
			began := time.Now()
			return balancer.PickResult{SubConn: sc, Done: func(d balancer.DoneInfo) { a.End(outcome(d, time.Since(began))) }}, nil
		}
		a.End(toska.Neutral)
	}
	return balancer.PickResult{SubConn: p.all[rand.IntN(len(p.all))]}, nil
}

// outcome is what the end of an RPC says of its endpoint.
func outcome(d balancer.DoneInfo, took time.Duration) toska.Outcome {
	if d.Err == nil && !d.BytesSent && !d.BytesReceived {
		return toska.Neutral // the connection was gone again before it was used
	}
	switch status.Code(d.Err) {
	case codes.Unavailable:
		return toska.Failed
	case codes.Canceled:
		return toska.Neutral
	case codes.DeadlineExceeded:
		switch {
		case took >= fairTime:
			return toska.Failed
		case d.BytesSent:
			return toska.Missed
		}
		return toska.Neutral
	default:
		return toska.Served
	}
}

type callKey struct{}

func contextWithCall(ctx context.Context, c *toska.Call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

func callFrom(ctx context.Context) *toska.Call {
	c, _ := ctx.Value(callKey{}).(*toska.Call)
	return c
}
