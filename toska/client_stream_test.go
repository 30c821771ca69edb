package toska_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
)

func TestAnAnswerThatIsCutIsAnErrorAndCountsAgainstItsInstance(t *testing.T) {
	var asked atomic.Int64
	cut := raw(t, "cut", func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		asked.Add(1)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
	})
	whole := serve(t, "whole", nil)
	c := newClient(t, newFakeDiscovery(cut, whole.Instance))
	failed := 0
	for range 100 {
		_, body, err := get(t.Context(), c, "toska://orders/x")
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			failed++
		case err != nil || body != "whole":
			t.Fatalf("%q, %v", body, err)
		}
	}
	if failed != 5 || asked.Load() != 5 {
		t.Errorf("%d answers were cut of %d, want 5 until the instance is left out", failed, asked.Load())
	}
}

func TestADeadlineThatIsTooShortSaysNothingOfTheInstance(t *testing.T) {
	for _, tt := range []struct {
		name     string
		deadline time.Duration
		leftOut  bool
	}{
		{"a short one", 20 * time.Millisecond, false},
		{"one that gave it a second", 1100 * time.Millisecond, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			mute := raw(t, "mute", func(c net.Conn) {
				asked.Add(1)
				_, _ = io.Copy(io.Discard, c)
			})
			other := serve(t, "other", nil)
			mute.Metadata = map[string]string{"lb_strategy": "RoundRobin"}
			c := newClient(t, newFakeDiscovery(mute, other.Instance))
			var wg sync.WaitGroup
			for range 12 { // every second one gets the mute instance
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
					defer cancel()
					_, _, err := get(ctx, c, "toska://orders/x")
					if err != nil && (!errors.Is(err, context.DeadlineExceeded) || codeOf(t, err) != "TOSKA-UP-TIMEOUT") {
						t.Errorf("error %v", err)
					}
				})
			}
			wg.Wait()
			before := asked.Load()
			ask := func(n int) {
				for range n {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
					_, _, _ = get(ctx, c, "toska://orders/x")
					cancel()
				}
			}
			ask(4)
			if leftOut := asked.Load() == before; leftOut != tt.leftOut {
				t.Errorf("left out: %v, want %v", leftOut, tt.leftOut)
			}
			// One that has answered nothing while the other did is hung, however short the time.
			ask(30)
			before = asked.Load()
			ask(30)
			if asked.Load() != before {
				t.Error("an instance that answers nothing is asked on")
			}
		})
	}
}

func TestAConnectionThatSwitchesProtocolsIsATunnel(t *testing.T) {
	echo := raw(t, "echo", func(c net.Conn) {
		head := make([]byte, 4096)
		if n, _ := c.Read(head); !strings.Contains(string(head[:n]), "Upgrade: echo") {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(c, c)
	})
	c := newClient(t, newFakeDiscovery(echo))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "toska://orders/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	res, err := c.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	tunnel, ok := res.Body.(io.ReadWriteCloser)
	if !ok || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("status %d, body %T", res.StatusCode, res.Body)
	}
	if _, err := io.WriteString(tunnel, "ping"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(tunnel, got); err != nil || string(got) != "ping" {
		t.Errorf("%q came back, %v", got, err)
	}
	if err := tunnel.Close(); err != nil {
		t.Error(err)
	}
}

func TestU5ARollingRestartFailsNoCall(t *testing.T) {
	program := func(n int) *backend { return serve(t, fmt.Sprintf("orders-%d", n), nil) }
	running := []*backend{program(0), program(1), program(2)}
	d := newFakeDiscovery(running[0].Instance, running[1].Instance, running[2].Instance)
	c := newClient(t, d)
	mustGet(t, c)
	var failed, calls atomic.Int64
	var over atomic.Bool
	var workers sync.WaitGroup
	for i := range 4 {
		workers.Go(func() {
			for !over.Load() {
				err := call(t.Context(), c, i)
				if calls.Add(1); err != nil {
					failed.Add(1)
					t.Log(err)
				}
			}
		})
	}
	more := func(n int64) {
		to := calls.Load() + n
		eventually(t, "more calls", func() bool { return calls.Load() >= to })
	}
	for i := range 3 {
		old := running[i]
		drained := *old.Instance
		drained.Draining = true
		list := []*mesh.Instance{&drained}
		for k, b := range running {
			if k != i {
				list = append(list, b.Instance)
			}
		}
		d.set(list...)
		eventually(t, "the drain", func() bool { return !strings.Contains(endpoints(t, c), old.ID) })
		more(50)
		old.server.Close()
		running[i] = program(3 + i)
		d.set(running[0].Instance, running[1].Instance, running[2].Instance)
		more(50)
	}
	over.Store(true)
	workers.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d calls failed", failed.Load(), calls.Load())
	}
}

// call sends a GET or, every second worker, a POST whose body cannot be had again.
func call(ctx context.Context, c *toska.Client, worker int) error {
	method, body := http.MethodGet, io.Reader(nil)
	if worker%2 == 1 {
		method, body = http.MethodPost, &stream{Reader: strings.NewReader("order")}
	}
	req, err := http.NewRequestWithContext(ctx, method, "toska://orders/x", body)
	if err != nil {
		return err
	}
	res, err := c.HTTP().Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != 200 {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}
