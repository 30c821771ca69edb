package toska_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
)

// fakeDiscovery is a registry that a test writes by hand. Only watching works.
type fakeDiscovery struct {
	mesh.Discovery

	mu      sync.Mutex // guards what follows
	n       uint64
	current *mesh.Snapshot
	away    error         // what every watch ends with
	news    chan struct{} // closed and replaced with each change
	watches int
	living  int // of the watches
}

func (d *fakeDiscovery) began() int     { d.mu.Lock(); defer d.mu.Unlock(); return d.watches }
func (d *fakeDiscovery) following() int { d.mu.Lock(); defer d.mu.Unlock(); return d.living }

func newFakeDiscovery(instances ...*mesh.Instance) *fakeDiscovery {
	d := &fakeDiscovery{news: make(chan struct{})}
	d.set(instances...)
	return d
}

// set replaces the registry.
func (d *fakeDiscovery) set(instances ...*mesh.Instance) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n++
	d.current = &mesh.Snapshot{Revision: mesh.Revision{Epoch: 1, Number: d.n}, Services: map[string][]*mesh.Instance{}}
	for _, i := range instances {
		key := mesh.ServiceKey(i.Service)
		d.current.Services[key] = append(d.current.Services[key], i)
	}
	d.tell()
}

// leave ends every watch with an error, and each new one until it comes back (nil).
func (d *fakeDiscovery) leave(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.away = err
	d.tell()
}

func (d *fakeDiscovery) tell() {
	close(d.news)
	d.news = make(chan struct{})
}

func (d *fakeDiscovery) Watch(ctx context.Context, since mesh.Revision) iter.Seq2[*mesh.Snapshot, error] {
	return func(yield func(*mesh.Snapshot, error) bool) {
		d.mu.Lock()
		d.watches++
		d.living++
		d.mu.Unlock()
		defer func() {
			d.mu.Lock()
			d.living--
			d.mu.Unlock()
		}()
		for {
			d.mu.Lock()
			snap, news, away := d.current, d.news, d.away
			d.mu.Unlock()
			if away != nil {
				yield(nil, away)
				return
			}
			if since.Before(snap.Revision) {
				since = snap.Revision
				if !yield(snap, nil) {
					return
				}
				continue
			}
			select {
			case <-news:
			case <-ctx.Done():
				return
			}
		}
	}
}

// backend is a program that serves orders, and remembers what it was asked.
type backend struct {
	*mesh.Instance
	server *httptest.Server

	mu    sync.Mutex // guards asked
	asked []asked
}

type asked struct {
	method, target, host, body string
	header                     http.Header
}

// serve starts a backend. A nil handler answers with the instance's id.
func serve(t *testing.T, id string, h http.HandlerFunc) *backend {
	t.Helper()
	b := &backend{}
	b.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		b.mu.Lock()
		b.asked = append(b.asked, asked{r.Method, r.RequestURI, r.Host, string(body), r.Header})
		b.mu.Unlock()
		if h == nil {
			_, _ = io.WriteString(w, id)
			return
		}
		h(w, r)
	}))
	t.Cleanup(b.server.Close)
	b.Instance = instanceAt(id, b.server.Listener.Addr().String())
	return b
}

func (b *backend) saw() []asked {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]asked(nil), b.asked...)
}

func instanceAt(id, addr string) *mesh.Instance {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic(err)
	}
	n, _ := strconv.Atoi(port)
	return &mesh.Instance{ID: id, Service: "orders", Incarnation: 1, Address: host, Port: n}
}

// raw starts a server that answers each connection with fn.
func raw(t *testing.T, id string, fn func(net.Conn)) *mesh.Instance {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				fn(c)
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	return instanceAt(id, ln.Addr().String())
}

// closed is an instance that nobody listens for.
func closed(t *testing.T, id string) *mesh.Instance {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return instanceAt(id, ln.Addr().String())
}

func newClient(t *testing.T, d mesh.Discovery, opts ...toska.Option) *toska.Client {
	t.Helper()
	c, err := toska.NewClient(append([]toska.Option{toska.WithDiscovery(d), toska.WithLogger(nil)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// get asks for orders, and returns status and body.
func get(ctx context.Context, c *toska.Client, url string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	res, err := c.HTTP().Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

// mustGet fails the test unless the answer is 200, and returns who answered.
func mustGet(t *testing.T, c *toska.Client) string {
	t.Helper()
	status, body, err := get(t.Context(), c, "toska://orders/x")
	if err != nil || status != 200 {
		t.Fatalf("got %d, %v", status, err)
	}
	return body
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s did not come true within 10 s", what)
		}
	}
}

func codeOf(t *testing.T, err error) string {
	t.Helper()
	var e *mesh.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v (%T) is no mesh.Error", err, err)
	}
	return e.Code
}

var errAway = &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: "the node is away"}
