package cli

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/util/portholder"
)

const (
	probeEvery   = 50 * time.Millisecond
	probeTimeout = 2 * time.Second
)

// port is where a program is to answer.
type port struct {
	host  string // loopback unless the operator said otherwise
	num   int
	check string // path of an HTTP check; empty for a TCP one
}

// String returns host:port.
func (p port) String() string { return net.JoinHostPort(p.host, strconv.Itoa(p.num)) }

// what names what is waited for.
func (p port) what() string {
	if p.check == "" {
		return p.String()
	}
	return "http://" + p.String() + p.check
}

// freePort returns a port that nobody listens on now.
func freePort(ctx context.Context, host string) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	n := l.Addr().(*net.TCPAddr).Port
	return n, l.Close()
}

// taken returns an error if somebody answers on the port already, whom one would take for the program.
func (p port) taken(ctx context.Context) error {
	if dial(ctx, p.String()) != nil {
		return nil
	}
	holder := "another process"
	if addr, err := netip.ParseAddrPort(p.String()); err == nil {
		if pid, name, ok := portholder.Find(addr); ok {
			holder = fmt.Sprintf("%s (process %d)", name, pid)
		}
	}
	return fail(codeConflict, "stop that one, choose another --port, or --port 0 for any free one; "+
		`if it is the program that you mean, "toska register" registers what runs already`,
		"start the program: %s is taken by %s", p, holder)
}

// await waits until the port answers. When ctx ends it returns the last reason why it did not.
func (p port) await(ctx context.Context) error {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	var last error
	for {
		err := p.probe(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // an attempt that was cut short tells nothing
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last
		}
	}
}

func (p port) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if p.check == "" {
		return dial(ctx, p.String())
	}
	// As the node will: a program that it would take for failing is not ready.
	if err := app.Probe(ctx, version(), p.host, p.num, p.check); err != nil {
		return fmt.Errorf("GET %s: %w", p.what(), err)
	}
	return nil
}

func dial(ctx context.Context, addr string) error {
	conn, err := (&net.Dialer{Timeout: probeTimeout}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// unanswered explains that the program did not answer in time.
func (p port) unanswered(ctx context.Context, within time.Duration, last error) error {
	next := "see what the program says, give it longer with --start-timeout, or name the --port that it listens on (it is also in its environment as PORT)"
	six := port{host: "::1", num: p.num}
	if p.host == "127.0.0.1" && dial(ctx, six.String()) == nil {
		next = "it listens on " + six.String() + " only: make it listen on 127.0.0.1"
	}
	reason := strings.TrimPrefix(last.Error(), "dial tcp ")
	return fail(codeStartTimeout, next, "wait for the program: no answer at %s within %v (%s); it was ended", p.what(), within, reason)
}
