package toska_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
	"github.com/toska-mesh/toska-mesh/toska/toskatest"
)

// silent is a listener that nobody reaches, for tests whose clock is not the world's.
type silent struct {
	closed chan struct{}
	once   sync.Once
}

func (s *silent) Accept() (net.Conn, error) { <-s.closed; return nil, net.ErrClosed }
func (s *silent) Close() error              { s.once.Do(func() { close(s.closed) }); return nil }
func (s *silent) Addr() net.Addr            { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9000} }

// deaf serves by accepting until its listener is closed.
type deaf struct{}

func (deaf) Serve(ln net.Listener) error { _, err := ln.Accept(); return err }

// reported is a registry that notes what a service says of its health.
type reported struct {
	discovery
	mu    sync.Mutex
	words []string
}

func (r *reported) Open(ctx context.Context, reg mesh.Registration, resume uint64) (mesh.Session, error) {
	s, err := r.discovery.Open(ctx, reg, resume)
	if err != nil {
		return nil, err
	}
	if reg.InitiallyFailing {
		r.note("begins failing")
	}
	return &noting{s, r}, nil
}

func (r *reported) note(word string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.words = append(r.words, word)
}

func (r *reported) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.words, "|")
}

type noting struct {
	mesh.Session
	r *reported
}

func (n *noting) Report(_ context.Context, rep mesh.Report) error {
	n.r.note(strings.TrimSpace(rep.Health.String() + " " + rep.Output))
	return nil
}

// full makes a mesh.Discovery of what a keeper needs.
type full struct {
	mesh.Discovery
	of toska.Discovery
}

func (f full) Open(ctx context.Context, r mesh.Registration, resume uint64) (mesh.Session, error) {
	return f.of.Open(ctx, r, resume)
}
func (f full) Drain(ctx context.Context, ref mesh.Ref) error      { return f.of.Drain(ctx, ref) }
func (f full) Deregister(ctx context.Context, ref mesh.Ref) error { return f.of.Deregister(ctx, ref) }

// healthOf runs a service with a health function for as long as during lasts, and returns what it reported.
func healthOf(t *testing.T, ask func(context.Context) error, during func()) string {
	t.Helper()
	r := &reported{}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		result <- toska.JoinListener(ctx, "orders", deaf{}, toska.WithListener(&silent{closed: make(chan struct{})}), toska.WithLogger(nil),
			toska.WithDiscovery(full{of: r}), toska.WithHealth(ask))
	}()
	during()
	cancel()
	if err := <-result; err != nil {
		t.Errorf("JoinListener = %v", err)
	}
	return r.said()
}

func TestTheServicesOwnHealthIsReported(t *testing.T) {
	sick := errors.New("no database")
	for _, tt := range []struct {
		name  string
		words []error // by call; the last one stays
		want  string
	}{
		{"passing all the time is said once", []error{nil}, "passing"},
		{"an error is failing from the start", []error{sick, sick, nil}, "begins failing|failing no database|passing"},
		{"degraded is degraded", []error{nil, toska.Degraded(sick), toska.Degraded(nil)}, "passing|degraded no database|passing"},
		{"the same error is said once, another one again", []error{nil, sick, sick, errors.New("no disk")}, "passing|failing no database|failing no disk"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int32
				got := healthOf(t, func(context.Context) error {
					return tt.words[min(int(calls.Add(1)), len(tt.words))-1]
				}, func() { time.Sleep(55 * time.Second) })
				if got != tt.want || calls.Load() != 6 {
					t.Errorf("reported %q in %d calls, want %q in 6", got, calls.Load(), tt.want)
				}
			})
		})
	}
}

func TestAPanicInTheHealthFunctionIsFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := healthOf(t, func(context.Context) error { panic("oh") }, func() { time.Sleep(25 * time.Second) })
		if want := "begins failing|failing the health function panicked: oh"; got != want {
			t.Errorf("reported %q, want %q", got, want)
		}
	})
}

func TestAHealthFunctionThatNeverReturnsIsFailingAndCalledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls, within atomic.Int32
		release := make(chan struct{})
		got := healthOf(t, func(ctx context.Context) error {
			if n := calls.Add(1); n == 2 {
				within.Add(1)
				<-release // deaf to its context
				within.Add(-1)
				return errors.New("of another time")
			}
			if within.Load() > 0 {
				t.Error("it was called while an earlier call had not returned")
			}
			if _, ok := ctx.Deadline(); !ok {
				t.Error("its context has no deadline")
			}
			return nil
		}, func() {
			time.Sleep(65 * time.Second)
			if n := calls.Load(); n != 2 {
				t.Errorf("%d calls, want 2", n)
			}
			close(release)
			time.Sleep(20 * time.Second)
		})
		if want := "passing|failing the health function did not return within 5s|passing"; got != want {
			t.Errorf("reported %q, want %q", got, want)
		}
	})
}

func TestAStopDoesNotWaitForAHealthFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		began := time.Now()
		healthOf(t, func(context.Context) error { <-release; return nil }, func() { time.Sleep(time.Second) })
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the stop took %v", took)
		}
		close(release)
	})
}

// What the service says itself comes by report alone: probes that find the same would hold its return back until
// two of them had found that, too.
func TestTheReturnOfAServiceThatWasFailingWaitsForNoProbe(t *testing.T) {
	m := toskatest.New(t)
	var sick atomic.Bool
	sick.Store(true)
	url, stop := joined(t, nil, m.Options(toska.WithHealthInterval(10*time.Millisecond), toska.WithHealth(func(context.Context) error {
		if sick.Load() {
			return errors.New("no database")
		}
		return nil
	}))...)
	defer func() { _ = stop() }()
	d := tie(t, m)
	awaitSnapshot(t, d, "it is failing", func(l []*mesh.Instance) bool {
		return len(l) == 1 && l[0].Health == mesh.Failing && l[0].Check.HTTP == toska.DefaultCheck
	})
	if status, _ := ask(t, "GET", url+"/health/ready"); status != 503 {
		t.Errorf("/health/ready is %d, want 503", status)
	}
	if status, body := ask(t, "GET", url+toska.DefaultCheck); status != 200 || strings.Contains(body, "no database") {
		t.Errorf("what the mesh probes is %d %s, want 200", status, body)
	}
	sick.Store(false)
	awaitSnapshot(t, d, "it is passing", func(l []*mesh.Instance) bool { return len(l) == 1 && l[0].Health == mesh.Passing })
}
