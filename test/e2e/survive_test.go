package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/test/node"
)

func TestARollingRestartUnderTraffic(t *testing.T) {
	s := begin(t)
	var programs []*node.Process
	for range 3 {
		programs = append(programs, s.join())
	}
	s.until("all three answer", func() bool { return len(s.answering(30)) == 3 })

	t.Run("U-5 no request fails while each program is restarted", func(t *testing.T) {
		var served atomic.Int64
		stop := make(chan struct{})
		var clients sync.WaitGroup
		for i := range 4 {
			// A POST that was sent is never tried again: only a program that is drained loses none.
			method := []string{http.MethodGet, http.MethodPost}[i%2]
			clients.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(2 * time.Millisecond):
					}
					if status, body := s.ask(method, "/api/web/slow?for=5ms"); status == http.StatusOK {
						served.Add(1)
					} else {
						t.Errorf("after %d requests a %s was answered %d %s", served.Load(), method, status, body)
						return
					}
				}
			})
		}
		end := sync.OnceFunc(func() { close(stop); clients.Wait() })
		defer end()
		for i, p := range programs {
			if err := p.Stop(10 * time.Second); err != nil {
				t.Errorf("program %d: %v\n%s", i, err, p.Output())
			}
			next := s.join()
			s.until("another program is in its place", func() bool { return strings.Contains(next.Output(), "is behind the gateway") })
		}
		end()
		t.Logf("%d requests were served", served.Load())
	})
}

func TestAProgramOutlivesALostRegistry(t *testing.T) {
	s := begin(t)
	p := s.join()
	s.until("the program answers", func() bool { status, _ := s.get("/api/web/"); return status == http.StatusOK })
	pids := s.answering(1)
	lost := s.node
	s.node = nil
	lost.Kill()

	t.Run("N-19 it goes on without the registry, and says so", func(t *testing.T) {
		s.until("it says so", func() bool { return strings.Contains(p.Output(), "cannot reach the mesh") })
		select {
		case <-p.Done():
			t.Fatalf("it ended\n%s", p.Output())
		case <-time.After(5 * time.Second): // many attempts
		}
	})
	t.Run("N-19 it registers with a registry that knows nothing of it, on other ports", func(t *testing.T) {
		if err := os.RemoveAll(filepath.Join(s.dir, "data")); err != nil {
			t.Fatal(err)
		}
		s.up()
		s.until("it answers again", func() bool { status, _ := s.get("/api/web/"); return status == http.StatusOK })
		if got := s.answering(1); fmt.Sprint(got) != fmt.Sprint(pids) {
			t.Errorf("%v answers, want the same program %v", got, pids)
		}
		s.until("it says so", func() bool { return strings.Contains(p.Output(), "the mesh answers again") })
	})
}
