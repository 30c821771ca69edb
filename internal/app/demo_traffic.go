package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/lifecycle"
)

const (
	// demoEvery is the time from one request to the next.
	demoEvery = 250 * time.Millisecond
	// demoAtOnce bounds the requests under way: those that find no place are left out.
	demoAtOnce = 8
	// demoTimeout bounds one request.
	demoTimeout = 3 * time.Second
	// demoAgent is how the demo's requests are known in the access log.
	demoAgent = "toska-demo"
	// demoMost bounds what is read of an answer.
	demoMost = 64 << 10
)

// demoClient makes the demo's requests, all of them through the gateway.
type demoClient struct {
	gateway   string
	transport *http.Transport
	client    *http.Client
}

func newDemoClient(gateway string) *demoClient {
	// No proxy of the environment: the gateway is on this machine.
	t := &http.Transport{MaxIdleConnsPerHost: demoAtOnce}
	return &demoClient{gateway: gateway, transport: t, client: &http.Client{Transport: t, Timeout: demoTimeout}}
}

func (c *demoClient) close() { c.transport.CloseIdleConnections() }

// run sends requests until ctx ends. Those that are under way then are finished in group.
func (c *demoClient) run(ctx context.Context, group *lifecycle.Group) error {
	tick := time.NewTicker(demoEvery)
	defer tick.Stop()
	dice := rand.New(rand.NewPCG(demoSeed, demoSeed))
	free := make(chan struct{}, demoAtOnce)
	for n := 1; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		// Drawn even if it is left out, so that the next is the same in every run.
		v := drawVisit(dice)
		select {
		case free <- struct{}{}:
		default:
			continue
		}
		group.Go("request", func(ctx context.Context) error {
			defer func() { <-free }()
			// What comes of it is in the access log.
			_, _, _ = c.do(context.WithoutCancel(ctx), v, http.Header{"X-Correlation-Id": {fmt.Sprintf("demo-%06d", n)}})
			return nil
		})
	}
}

// visit is a request to be made.
type visit struct{ method, path string }

// drawVisit draws what is asked next: of ten requests four go to flaky, three to hello, two to orders and
// one to slow.
func drawVisit(dice *rand.Rand) visit {
	names := []string{"ada", "alan", "barbara", "edsger", "grace"}
	switch n := dice.IntN(10); {
	case n < 3:
		return visit{http.MethodGet, "hello/" + names[dice.IntN(len(names))]}
	case n < 7:
		return visit{http.MethodGet, "flaky/"}
	case n == 7:
		return visit{http.MethodGet, fmt.Sprintf("orders/%d", 1+dice.IntN(99))}
	case n == 8:
		return visit{http.MethodPost, "orders/"}
	default:
		return visit{http.MethodGet, "slow/"}
	}
}

// do makes one request and returns the answer's status and the beginning of its body.
func (c *demoClient) do(ctx context.Context, v visit, header http.Header) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, v.method, c.gateway+v.path, nil)
	if err != nil {
		return 0, nil, fmt.Errorf("ask for %s: %w", v.path, err)
	}
	req.Header = header
	req.Header.Set("User-Agent", demoAgent)
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, demoMost))
	return resp.StatusCode, body, err
}

// order answers as the service orders, which asks hello through the gateway and passes on what ties the
// two requests together.
func (c *demoClient) order(r *http.Request) (int, string) {
	header := http.Header{}
	for _, name := range []string{"X-Correlation-Id", "Traceparent", "Tracestate", "Toska-Hops"} {
		if v := r.Header.Values(name); len(v) > 0 {
			header[name] = v
		}
	}
	status, body, err := c.do(r.Context(), visit{http.MethodGet, "hello/orders"}, header)
	if err != nil || status != http.StatusOK {
		return http.StatusBadGateway, fmt.Sprintf("hello does not answer: status %d, %v", status, err)
	}
	var hello demoAnswer
	if err := json.Unmarshal(body, &hello); err != nil {
		return http.StatusBadGateway, "hello makes no sense: " + err.Error()
	}
	what := "order " + strings.Trim(r.URL.Path, "/") + " is on its way"
	if r.Method == http.MethodPost {
		what = "the order is taken"
	}
	return http.StatusOK, fmt.Sprintf("%s; %s says %q", what, hello.Instance, hello.Says)
}
