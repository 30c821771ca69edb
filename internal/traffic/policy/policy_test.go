package policy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/policy"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
)

type connections struct{}

func (connections) Sweep(time.Time) {}
func (connections) Close()          {}

// service has n endpoints.
func service(n int) *upstream.Upstream {
	var addrs []string
	for i := range n {
		addrs = append(addrs, fmt.Sprintf("10.0.0.%d:80", i+1))
	}
	return upstream.Build(nil, upstream.Source{Service: "svc", Endpoints: addrs},
		func(upstream.Target) upstream.Connections { return connections{} })
}

// tried has asked n endpoints of u.
func tried(u *upstream.Upstream, n int) *policy.Tries {
	t := &policy.Tries{}
	for range n {
		u.Acquire(&t.Tried)
	}
	return t
}

func TestWhatMayBeSentAgain(t *testing.T) {
	all := policy.DefaultRule()
	all.All = true
	for _, tt := range []struct {
		name       string
		rule       policy.Rule
		endpoints  int
		idempotent bool
		want       bool
	}{
		{"an idempotent request, to another endpoint", policy.DefaultRule(), 2, true, true},
		{"U-7 no other request", policy.DefaultRule(), 2, false, false},
		{"any request where the rule says so", all, 2, false, true},
		{"nothing when there is no other endpoint", policy.DefaultRule(), 1, true, false},
		{"nothing when one attempt is all", policy.Rule{Attempts: 1, Budget: 0.2}, 2, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := service(tt.endpoints)
			if got := tried(u, 1).Allows(u, tt.rule, tt.idempotent); got != tt.want {
				t.Errorf("Allows = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestARetryIsCountedAndPaid(t *testing.T) {
	u, rule := service(8), policy.DefaultRule()
	tries := tried(u, 1)
	if !tries.Allows(u, rule, true) || !tries.Retry(u, rule) {
		t.Fatal("the first retry was refused")
	}
	if tries.Allows(u, rule, true) {
		t.Error("a second retry was allowed; two attempts are all")
	}
	granted := 1
	for range 100 {
		if new(policy.Tries).Retry(u, rule) {
			granted++
		}
	}
	if granted != 10 {
		t.Errorf("%d retries were paid from a reserve of 10", granted)
	}
	rule.Budget = -1
	if new(policy.Tries).Retry(service(2), rule) {
		t.Error("a rule without a budget retried")
	}
}

func TestEndpointsThatCannotBeConnectedToAreTriedUpToABound(t *testing.T) {
	u := service(20)
	tries, n := &policy.Tries{}, 0
	for tries.More() {
		u.Acquire(&tries.Tried)
		n++
	}
	if n != policy.MaxEndpoints {
		t.Errorf("%d endpoints were tried, want %d", n, policy.MaxEndpoints)
	}
}

func TestWhichMethodsAreIdempotent(t *testing.T) {
	for method, want := range map[string]bool{"GET": true, "HEAD": true, "OPTIONS": true, "PUT": true, "DELETE": true,
		"POST": false, "PATCH": false, "CONNECT": false, "get": false, "": false} {
		if got := policy.Idempotent(method); got != want {
			t.Errorf("Idempotent(%q) = %v, want %v", method, got, want)
		}
	}
}

func TestWhichStatusesAreUnwell(t *testing.T) {
	for status := 100; status < 600; status++ {
		if got, want := policy.Unwell(status), status == 502 || status == 503 || status == 504; got != want {
			t.Errorf("Unwell(%d) = %v, want %v", status, got, want)
		}
	}
}

func TestRetryAfterIsANumberOfSeconds(t *testing.T) {
	for _, tt := range []struct {
		value string
		want  time.Duration
		ok    bool
	}{
		{"3", 3 * time.Second, true},
		{"65535", 65535 * time.Second, true},
		{"65536", 0, false},
		{"0", 0, false},
		{"-1", 0, false},
		{"1.5", 0, false},
		{"", 0, false},
		{"Wed, 21 Oct 2026 07:28:00 GMT", 0, false},
	} {
		if got, ok := policy.RetryAfter(tt.value); got != tt.want || ok != tt.ok {
			t.Errorf("RetryAfter(%q) = %v, %v, want %v, %v", tt.value, got, ok, tt.want, tt.ok)
		}
	}
}

func TestWhatAFailedConnectionIsCalled(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"a name that is not known", dial(&net.DNSError{Err: "no such host", Name: "x", IsTimeout: true}), policy.CodeDNS},
		{"a port that nobody listens on", dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), policy.CodeRefused},
		{"silence", dial(os.ErrDeadlineExceeded), policy.CodeConnTimeout},
		{"a deadline", context.DeadlineExceeded, policy.CodeConnTimeout},
		{"anything else", errors.New("no route to host"), policy.CodeConnFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if code, detail := policy.Undialled(tt.err); code != tt.want || detail == "" {
				t.Errorf("Undialled = %q, %q, want %q", code, detail, tt.want)
			}
		})
	}
}
