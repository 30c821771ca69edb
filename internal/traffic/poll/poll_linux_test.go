package poll_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/poll"
)

// echo is a server on loops that answers each line with itself.
type echo struct {
	t     *testing.T
	ln    *net.TCPListener
	turns sync.WaitGroup
	// line, if set, is called with each line on its way back
	line func(c *poll.Conn, s string)
	// idle is the deadline of a parked connection
	idle time.Duration
	// loopCount is 2 unless it is set
	loopCount int
	// end ends the loops and waits for all that they carry
	end func()
}

func newEcho(t *testing.T, change func(*echo)) *echo {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{t: t, ln: ln.(*net.TCPListener), loopCount: 2}
	if change != nil {
		change(e)
	}
	loops, err := poll.New(e.loopCount)
	if err != nil {
		t.Fatal(err)
	}
	shared, err := loops.Listen(e.ln)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { loops.Run(ctx) })
	wg.Go(func() { e.accept(shared) })
	e.end = sync.OnceFunc(func() {
		_ = shared.Close()
		_ = ln.Close()
		cancel()
		wg.Wait()
		e.turns.Wait()
	})
	t.Cleanup(e.end)
	return e
}

func (e *echo) accept(shared net.Listener) {
	for {
		conn, err := shared.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				e.t.Errorf("accept: %v", err)
			}
			return
		}
		c := conn.(*poll.Conn)
		e.turns.Add(1)
		var held []byte
		c.Serve(func() {
			if e.turn(c, &held) {
				return
			}
			_ = c.Close()
			e.turns.Done()
		})
	}
}

// turn echoes whole lines until there is nothing to read.
func (e *echo) turn(c *poll.Conn, held *[]byte) (parked bool) {
	buf := make([]byte, 4096)
	for {
		n, again, err := c.TryRead(buf)
		if again {
			if e.idle > 0 {
				_ = c.SetReadDeadline(time.Now().Add(e.idle))
			}
			if c.Park() {
				return true
			}
			continue
		}
		if err != nil {
			return false
		}
		*held = append(*held, buf[:n]...)
		for {
			line, rest, ok := strings.Cut(string(*held), "\n")
			if !ok {
				break
			}
			*held = []byte(rest)
			if e.line != nil {
				e.line(c, line)
			}
			if _, err := io.WriteString(c, line+"\n"); err != nil {
				return false
			}
		}
	}
}

func (e *echo) dial() net.Conn {
	e.t.Helper()
	c, err := net.Dial("tcp", e.ln.Addr().String())
	if err != nil {
		e.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	e.t.Cleanup(func() { _ = c.Close() })
	return c
}

func ask(t *testing.T, c net.Conn, r *bufio.Reader, line string) {
	t.Helper()
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		t.Fatal(err)
	}
	got, err := r.ReadString('\n')
	if err != nil || got != line+"\n" {
		t.Fatalf("echo of %q: %q, %v", line, got, err)
	}
}

func TestConnectionsAreServedTurnByTurn(t *testing.T) {
	e := newEcho(t, nil)
	var wg sync.WaitGroup
	for i := range 20 {
		c := e.dial()
		wg.Go(func() {
			r := bufio.NewReader(c)
			for k := range 50 {
				line := fmt.Sprint(i, " ", k)
				_, _ = io.WriteString(c, line+"\n")
				if got, err := r.ReadString('\n'); err != nil || got != line+"\n" {
					t.Errorf("echo of %q: %q, %v", line, got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestWhatBlocksLeavesTheLoop(t *testing.T) {
	release := make(chan struct{})
	e := newEcho(t, func(e *echo) {
		e.line = func(c *poll.Conn, s string) {
			if s == "block" {
				c.Carrier().Leave()
				<-release
			}
		}
	})
	blocked := make([]net.Conn, 4) // more than there are loops
	for i := range blocked {
		blocked[i] = e.dial()
		_, _ = io.WriteString(blocked[i], "block\n")
	}
	c := e.dial()
	r := bufio.NewReader(c)
	for range 10 {
		ask(t, c, r, "on")
	}
	close(release)
	for _, c := range blocked {
		r := bufio.NewReader(c)
		if got, err := r.ReadString('\n'); got != "block\n" {
			t.Errorf("%q, %v", got, err)
		}
		ask(t, c, r, "back on the loop")
	}
}

func TestAParkedConnectionEndsWithItsDeadline(t *testing.T) {
	e := newEcho(t, func(e *echo) { e.idle = 50 * time.Millisecond })
	c := e.dial()
	ask(t, c, bufio.NewReader(c), "hello")
	begin := time.Now()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read: %v, want the end", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("ended after %s", took)
	}
}

func TestLargeAnswersWaitForASlowReader(t *testing.T) {
	const lines = 4000
	line := strings.Repeat("x", 1000)
	e := newEcho(t, nil)
	c := e.dial()
	go func() {
		for range lines {
			if _, err := io.WriteString(c, line+"\n"); err != nil {
				return
			}
		}
	}()
	got, err := io.CopyN(io.Discard, c, lines*int64(len(line)+1))
	if err != nil {
		t.Errorf("%d bytes: %v", got, err)
	}
}

func TestAnAdoptedConnectionReadsWritesAndTimesOut(t *testing.T) {
	peer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peer.Close() }()
	go func() {
		for {
			p, err := peer.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = p.Close() }()
				b := make([]byte, 100)
				n, _ := p.Read(b)
				if string(b[:n]) != "mute" {
					_, _ = p.Write(b[:n])
				}
				_, _ = p.Read(b)
			}()
		}
	}()
	results := make(chan string, 1)
	e := newEcho(t, func(e *echo) {
		e.line = func(c *poll.Conn, s string) {
			k := c.Carrier()
			k.Leave()
			conn, err := net.Dial("tcp", peer.Addr().String())
			if err != nil {
				results <- err.Error()
				return
			}
			link, err := k.Adopt(conn.(*net.TCPConn))
			if err != nil {
				results <- err.Error()
				return
			}
			defer func() { _ = link.Close() }()
			_ = link.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			b := make([]byte, 100)
			if _, err := io.WriteString(link, s); err != nil {
				results <- err.Error()
				return
			}
			n, err := link.Read(b)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				results <- "late"
				return
			}
			results <- string(b[:n])
		}
	})
	c := e.dial()
	r := bufio.NewReader(c)
	for _, line := range []string{"hello", "mute", "again"} {
		ask(t, c, r, line)
		want := line
		if line == "mute" {
			want = "late"
		}
		if got := <-results; got != want {
			t.Errorf("the endpoint said %q to %q", got, line)
		}
	}
}

func TestAConnectionThatIsNeverDoneLetsOthersHaveTheirTurn(t *testing.T) {
	e := newEcho(t, func(e *echo) { e.loopCount = 1 })
	flood := e.dial()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		line := []byte(strings.Repeat("x", 99) + "\n")
		for {
			select {
			case <-stop:
				_ = flood.Close()
				return
			default:
				if _, err := flood.Write(line); err != nil {
					return
				}
			}
		}
	})
	wg.Go(func() { _, _ = io.Copy(io.Discard, flood) })
	c := e.dial()
	r := bufio.NewReader(c)
	for range 50 {
		ask(t, c, r, "mine")
	}
	close(stop)
	wg.Wait()
}

func TestClosingAConnectionFromElsewhereEndsWhateverItDoes(t *testing.T) {
	rows := []struct {
		name string
		line func(c *poll.Conn, s string)
	}{
		{"parked", nil},
		{"waiting on its loop", func(c *poll.Conn, s string) { _, _ = c.Read(make([]byte, 1)) }},
		{"waiting away from its loop", func(c *poll.Conn, s string) {
			c.Carrier().Leave()
			_, _ = c.Read(make([]byte, 1))
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			conns := make(chan *poll.Conn, 1)
			e := newEcho(t, func(e *echo) {
				e.line = func(c *poll.Conn, s string) {
					if s != "first" {
						row.line(c, s)
						return
					}
					conns <- c
				}
			})
			c := e.dial()
			ask(t, c, bufio.NewReader(c), "first")
			if row.line != nil {
				_, _ = io.WriteString(c, "wait\n")
			}
			server := <-conns
			if err := server.Close(); err != nil {
				t.Error(err)
			}
			if err := server.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("closed twice: %v", err)
			}
			if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("read: %v", err)
			}
			e.turns.Wait() // what served it has ended
			for _, err := range []error{server.CloseWrite(), server.SetLinger(0), server.SetDeadline(time.Now())} {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("used after its end: %v", err)
				}
			}
			if server.Quiet() {
				t.Error("a closed connection is quiet")
			}
		})
	}
}

func TestAQuietConnectionIsOneThatNobodySpeaksOn(t *testing.T) {
	loops, err := poll.New(1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { loops.Run(ctx) })
	defer wg.Wait()
	defer stop()
	server, far, err := pair(loops)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = far.Close() }()
	if !server.Quiet() {
		t.Error("a fresh connection is not quiet")
	}
	if _, err := io.WriteString(far, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if !server.Quiet() {
		t.Error("an empty connection is not quiet")
	}
	if _, err := io.WriteString(far, "unasked"); err != nil {
		t.Fatal(err)
	}
	if err := server.WaitRead(); err != nil {
		t.Fatal(err)
	}
	if server.Quiet() {
		t.Error("a connection with something to read is quiet")
	}
	if err := server.CloseWrite(); err != nil {
		t.Error(err)
	}
	if n, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the server's last word: %d, %v", n, err)
	}
	_, _ = server.Read(make([]byte, 10))
	_ = far.Close()
	if err := server.WaitRead(); err != nil {
		t.Fatal(err)
	}
	if server.Quiet() {
		t.Error("a connection whose peer has left is quiet")
	}
	if server.LocalAddr().String() != far.RemoteAddr().String() || server.RemoteAddr().String() != far.LocalAddr().String() {
		t.Errorf("%v to %v, seen from afar as %v to %v", server.LocalAddr(), server.RemoteAddr(), far.RemoteAddr(), far.LocalAddr())
	}
}

func TestTheEndOfTheLoopsEndsWhatTheyCarry(t *testing.T) {
	before := runtime.NumGoroutine()
	release := make(chan struct{})
	e := newEcho(t, func(e *echo) {
		e.line = func(c *poll.Conn, s string) {
			switch s {
			case "wait":
				_, _ = c.Read(make([]byte, 1))
			case "block":
				c.Carrier().Leave()
				<-release
			}
		}
	})
	var conns []net.Conn
	for _, s := range []string{"", "wait", "block"} {
		c := e.dial()
		ask(t, c, bufio.NewReader(c), "hello")
		if s != "" {
			_, _ = io.WriteString(c, s+"\n")
		}
		conns = append(conns, c)
	}
	var late sync.WaitGroup
	late.Go(e.end)
	close(release)
	late.Wait()
	for i, c := range conns {
		if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before+3; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}
