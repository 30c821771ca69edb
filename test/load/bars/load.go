package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/toska-mesh/toska-mesh/test/node"
)

// upAgain starts a node on the data of an earlier one.
func upAgain(ctx context.Context, r *report, dir string, args ...string) (*node.Node, error) {
	return node.Up(ctx, r.bin, dir, nil, append([]string{"--access-log", "off"}, args...)...)
}

// runService starts the test service through toska run.
func runService(ctx context.Context, r *report, dir, name string) (*node.Process, error) {
	return node.Start(ctx, nil, node.Env(dir), r.bin, "run", "--name", name, "--port", "0", "--", r.service)
}

func newClient() *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
}

// get returns the body of a 200, anything else is an error.
func get(ctx context.Context, c *http.Client, url string) (string, error) {
	return send(ctx, c, http.MethodGet, url)
}

func send(ctx context.Context, c *http.Client, method, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(b)))
	}
	return string(b), err
}

// until polls f until it returns no error.
func until(ctx context.Context, limit time.Duration, f func() error) error {
	end := time.Now().Add(limit)
	for {
		err := f()
		if err == nil || time.Now().After(end) {
			return err
		}
		if err := rest(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// shot is one request of a load.
type shot struct {
	at   time.Time // when it was sent
	end  time.Time // when it was answered
	body string
	err  error
}

// load sends requests at a fixed rate, whatever becomes of those before, and keeps what came back.
type load struct {
	client *http.Client
	stop   chan struct{}
	done   sync.WaitGroup

	mu    sync.Mutex
	shots []shot // guarded by mu
}

func startLoad(ctx context.Context, url string, perSecond int) *load {
	return startLoadOf(ctx, http.MethodGet, url, perSecond)
}

func startLoadOf(ctx context.Context, method, url string, perSecond int) *load {
	return startLoadBy(ctx, newClient(), method, url, perSecond)
}

// startLoadBy sends through a client of the caller's, whose idle connections are closed at the end.
func startLoadBy(ctx context.Context, client *http.Client, method, url string, perSecond int) *load {
	l := &load{client: client, stop: make(chan struct{})}
	l.done.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-tick.C:
			}
			l.done.Go(func() {
				s := shot{at: time.Now()}
				s.body, s.err = send(ctx, l.client, method, url)
				s.end = time.Now()
				l.mu.Lock()
				l.shots = append(l.shots, s)
				l.mu.Unlock()
			})
		}
	})
	return l
}

// end stops the load and returns its shots.
func (l *load) end() []shot {
	close(l.stop)
	l.done.Wait()
	l.client.CloseIdleConnections()
	return l.shots
}

func failures(shots []shot) (n int, last error) {
	for _, s := range shots {
		if s.err != nil {
			n, last = n+1, s.err
		}
	}
	return n, last
}

// upgrade opens a connection to a service's echo through the gateway.
func upgrade(ctx context.Context, gateway, path string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", gateway)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: bars\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path); err != nil {
		return nil, err
	}
	var head strings.Builder
	one := make([]byte, 1)
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		if _, err := c.Read(one); err != nil {
			return nil, fmt.Errorf("handshake: %w after %q", err, head.String())
		}
		head.WriteByte(one[0])
	}
	if !strings.HasPrefix(head.String(), "HTTP/1.1 101") {
		return nil, fmt.Errorf("handshake: %q", head.String())
	}
	return c, nil
}

// echoes sends a short message and expects it back. Its frame is masked with zeros.
func echoes(c net.Conn, text string) error {
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write(append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)); err != nil {
		return err
	}
	b := make([]byte, 2+len(text))
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if string(b[2:]) != text {
		return fmt.Errorf("echo is %q, want %q", b[2:], text)
	}
	return nil
}
