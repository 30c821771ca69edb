package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
)

// run serves h until stop is called, which returns how long stopping took.
func run(t *testing.T, h http.Handler, grace time.Duration) (addr string, stop func() time.Duration) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := httpapi.NewServer(h, silent()).Serve(ctx, ln, grace); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	stop = func() time.Duration {
		begun := time.Now()
		cancel()
		wg.Wait()
		return time.Since(begun)
	}
	t.Cleanup(func() { stop() })
	return ln.Addr().String(), stop
}

func fetch(t *testing.T, c *http.Client, url string) (string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// clients are one for each protocol.
func clients(t *testing.T) map[string]*http.Client {
	t.Helper()
	one, two := &http.Client{Transport: &http.Transport{}}, httpapi.NewClient("")
	t.Cleanup(func() { one.CloseIdleConnections(); two.CloseIdleConnections() })
	return map[string]*http.Client{"HTTP/1.1": one, "HTTP/2.0": two}
}

func TestServerSpeaksBothProtocolsInTheClear(t *testing.T) {
	addr, _ := run(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.Proto) }), time.Second)
	for want, c := range clients(t) {
		if got, err := fetch(t, c, "http://"+addr); got != want || err != nil {
			t.Errorf("got %q (%v), want %q", got, err, want)
		}
	}
}

func TestStreamsEndAndRequestsFinishWhenTheServerStops(t *testing.T) {
	for name, c := range clients(t) {
		t.Run(name, func(t *testing.T) {
			entered, release := make(chan struct{}, 2), make(chan struct{})
			mux := http.NewServeMux()
			mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
				ctx, cancel := httpapi.UntilStop(r.Context())
				defer cancel()
				entered <- struct{}{}
				<-ctx.Done()
				_, _ = fmt.Fprint(w, context.Cause(ctx))
				close(release)
			})
			mux.HandleFunc("/call", func(w http.ResponseWriter, r *http.Request) {
				entered <- struct{}{}
				<-release
				_, _ = fmt.Fprint(w, "done ", r.Context().Err())
			})
			addr, stop := run(t, mux, 10*time.Second)
			got := make(chan string, 2)
			var wg sync.WaitGroup
			for _, path := range []string{"/stream", "/call"} {
				wg.Go(func() {
					body, err := fetch(t, c, "http://"+addr+path)
					if err != nil {
						t.Errorf("%s: %v", path, err)
					}
					got <- body
				})
			}
			<-entered
			<-entered
			if took := stop(); took > 900*time.Millisecond {
				t.Errorf("stopping took %s, want less than 0.9 s", took)
			}
			wg.Wait()
			if all := <-got + "|" + <-got; !strings.Contains(all, "the server is stopping") || !strings.Contains(all, "done <nil>") {
				t.Errorf("answers %q, want the stream told and the call undisturbed", all)
			}
		})
	}
}

func TestHandlerWithAnUnreadBodyIsCutToo(t *testing.T) {
	entered := make(chan struct{})
	addr, stop := run(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}), 50*time.Millisecond)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-entered
	if took := stop(); took > 2*time.Second {
		t.Errorf("stopping took %s, want the grace", took)
	}
}

func TestRequestsAreCutAfterTheGrace(t *testing.T) {
	entered := make(chan struct{})
	addr, stop := run(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}), 50*time.Millisecond)
	c := clients(t)["HTTP/2.0"]
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := fetch(t, c, "http://"+addr); err == nil {
			t.Error("a request that was cut has an answer")
		}
	})
	<-entered
	if took := stop(); took > 2*time.Second {
		t.Errorf("stopping took %s, want the grace", took)
	}
	wg.Wait()
}

func TestServeFailsWithItsListener(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := httpapi.NewServer(http.NotFoundHandler(), silent()).Serve(t.Context(), ln, time.Second); err == nil {
		t.Error("Serve on a closed listener is nil")
	}
}

func TestReaderLoadsNothingFromElsewhere(t *testing.T) {
	mux := http.NewServeMux()
	httpapi.NewAPI(mux, "1.2.3", silent())
	h := httpapi.Handler(mux, loopback(), tokens{}, silent())
	for path, mediaType := range map[string]string{"/docs": "text/html", "/docs/reader.js": "javascript", "/docs/reader.css": "text/css"} {
		w := get(t, h, path)
		if w.Code != 200 || !strings.Contains(w.Header().Get("Content-Type"), mediaType) {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'self'") {
			t.Errorf("%s: policy %q", path, csp)
		}
		if body := w.Body.String(); strings.Contains(body, "http://") || strings.Contains(body, "https://") {
			t.Errorf("%s refers to another place", path)
		}
	}
	if w := get(t, h, "/openapi.json"); w.Code != 200 || !strings.Contains(w.Body.String(), `"version":"1.2.3"`) {
		t.Errorf("openapi.json: %d %s", w.Code, w.Body)
	}
}

func TestErrorPages(t *testing.T) {
	mux := http.NewServeMux()
	httpapi.MountErrorPages(mux, func(code string) (string, bool) { return "why " + code, code == "TOSKA-X" })
	h := httpapi.Handler(mux, loopback(), tokens{}, silent())
	if w := get(t, h, "/docs/errors/TOSKA-X"); w.Code != 200 || w.Body.String() != "why TOSKA-X" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := get(t, h, "/docs/errors/TOSKA-Y"); w.Code != 404 {
		t.Errorf("an unknown code: %d", w.Code)
	}
}
