package discoveryapi_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	discoveryv1 "github.com/toska-mesh/toska-mesh/api/discovery/v1"
	"github.com/toska-mesh/toska-mesh/api/discovery/v1/discoveryv1connect"
	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// mute opens every session and then says no more.
type mute struct {
	discoveryv1connect.UnimplementedDiscoveryHandler
	// opens is false for a node that does not even answer the opening.
	opens bool
}

func (m mute) Session(ctx context.Context, stream *connect.BidiStream[discoveryv1.SessionRequest, discoveryv1.SessionResponse]) error {
	if _, err := stream.Receive(); err != nil {
		return err
	}
	if m.opens {
		if err := stream.Send(&discoveryv1.SessionResponse{Kind: &discoveryv1.SessionResponse_Opened_{
			Opened: &discoveryv1.SessionResponse_Opened{Instance: &discoveryv1.Instance{Id: "w"}}}}); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// pipes is a listener in memory: its connections live inside a bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	close sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.close.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.IPAddr{} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// overPipes runs story with a client of the handler, in a bubble.
func overPipes(t *testing.T, h discoveryv1connect.DiscoveryHandler, story func(*testing.T, *discoveryapi.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		mux := http.NewServeMux()
		mux.Handle(discoveryv1connect.NewDiscoveryHandler(h))
		srv := &http.Server{Handler: mux, Protocols: &protocols, ReadHeaderTimeout: time.Minute}
		ln := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		var wg sync.WaitGroup
		wg.Go(func() { _ = srv.Serve(ln) })
		tr := &http.Transport{Protocols: &protocols, DialContext: ln.dial}
		c := discoveryapi.NewClientOver(&http.Client{Transport: tr})
		story(t, c)
		c.Close()
		_ = srv.Close()
		wg.Wait()
		tr.CloseIdleConnections()
	})
}

func TestHeartbeatWithoutAnAnswerEndsTheSession(t *testing.T) {
	overPipes(t, mute{opens: true}, func(t *testing.T, c *discoveryapi.Client) {
		t.Helper()
		s, err := c.Open(t.Context(), web("w"), 0)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if err := s.Renew(t.Context()); !errors.Is(err, mesh.ErrUnavailable) {
			t.Errorf("Renew: %v, want unavailable", err)
		}
		if took := time.Since(begun); took > 2*mesh.RenewInterval {
			t.Errorf("it took %s, want at most two renewals", took)
		}
		<-s.Done()
		if !errors.Is(s.Err(), mesh.ErrUnavailable) {
			t.Errorf("session ended with %v, want unavailable", s.Err())
		}
	})
}

func TestCallerWhoGivesUpWaitingKeepsTheSession(t *testing.T) {
	overPipes(t, mute{opens: true}, func(t *testing.T, c *discoveryapi.Client) {
		t.Helper()
		s, err := c.Open(t.Context(), web("w"), 0)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Renew(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Renew: %v, want the caller's deadline", err)
		}
		select {
		case <-s.Done():
			t.Errorf("the session ended: %v", s.Err())
		default:
		}
		s.Close(true)
	})
}

func TestOpeningEndsWithItsContext(t *testing.T) {
	overPipes(t, mute{}, func(t *testing.T, c *discoveryapi.Client) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		if _, err := c.Open(ctx, web("w"), 0); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, mesh.ErrUnavailable) {
			t.Errorf("Open: %v, want the deadline as unavailable", err)
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("it took %s, want 1 s", took)
		}
	})
}

func TestClosingOfAMuteNodesSessionDoesNotHang(t *testing.T) {
	overPipes(t, mute{opens: true}, func(t *testing.T, c *discoveryapi.Client) {
		t.Helper()
		s, err := c.Open(t.Context(), web("w"), 0)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		s.Close(false)
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("it took %s, want about a second", took)
		}
	})
}
