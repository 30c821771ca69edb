package poll_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/toska-mesh/toska-mesh/internal/traffic/poll"
)

func TestAConnectionIsWhatNetSays(t *testing.T) {
	loops, err := poll.New(1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { loops.Run(ctx) })
	defer wg.Wait()
	defer stop()
	pipe := func(swapped bool) nettest.MakePipe {
		return func() (c1, c2 net.Conn, end func(), err error) {
			server, far, err := pair(loops)
			if err != nil {
				return nil, nil, nil, err
			}
			c1, c2 = server, far
			if swapped {
				c1, c2 = far, server
			}
			return c1, c2, func() { _ = server.Close(); _ = far.Close() }, nil
		}
	}
	t.Run("the server's end", func(t *testing.T) { nettest.TestConn(t, pipe(false)) })
	t.Run("the client's end", func(t *testing.T) { nettest.TestConn(t, pipe(true)) })
}

// pair returns both ends of a connection, the server's being one of a loop.
func pair(loops *poll.Loops) (server *poll.Conn, far net.Conn, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = ln.Close() }()
	shared, err := loops.Listen(ln.(*net.TCPListener))
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = shared.Close() }()
	if far, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		return nil, nil, err
	}
	conn, err := shared.Accept()
	if err != nil {
		return nil, nil, errors.Join(err, far.Close())
	}
	return conn.(*poll.Conn), far, nil
}
