package discoveryapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	discoveryv1 "github.com/toska-mesh/toska-mesh/api/discovery/v1"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// openTimeout is how long a client may take to open the session of its stream.
const openTimeout = 10 * time.Second

// errLetGo is why no more is read from a client that let go of its session.
var errLetGo = errors.New("the client let go")

type sessionStream = connect.BidiStream[discoveryv1.SessionRequest, discoveryv1.SessionResponse]

// Session implements discoveryv1connect.DiscoveryHandler. Only the calling goroutine reads and sends;
// a second one interrupts its read when the session ends here.
func (h *handler) Session(ctx context.Context, stream *sessionStream) error {
	ctx, cancel := httpapi.UntilStop(ctx)
	defer cancel()
	reads := readDeadlines(ctx)
	reads.set(time.Now().Add(openTimeout))
	s, err := h.open(ctx, stream)
	if err != nil {
		return err
	}
	lost := true
	defer func() { s.Close(lost) }()
	reads.set(time.Time{})

	over := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		select {
		case <-s.Done():
		case <-ctx.Done():
		case <-over:
		}
		reads.set(longAgo)
	})
	err = h.beats(ctx, stream, s)
	close(over)
	watcher.Wait()
	lost, err = h.sayEnd(ctx, stream, s, err)
	return err
}

// open reads the first message and opens the session that it asks for.
func (h *handler) open(ctx context.Context, stream *sessionStream) (mesh.Session, error) {
	first, err := stream.Receive()
	if err != nil {
		return nil, err
	}
	open := first.GetOpen()
	if open == nil {
		return nil, wrongField("open", "the first message of a session opens it")
	}
	r := fromProtoRegistration(open.GetRegistration())
	r.Lifetime, r.TTL = mesh.Held, 0
	if err := registry.Validate(r, registry.LabelNames); err != nil {
		return nil, err
	}
	s, err := h.d.Open(ctx, r, open.GetResume())
	if err != nil {
		return nil, err
	}
	i := s.Instance()
	err = stream.Send(&discoveryv1.SessionResponse{Kind: &discoveryv1.SessionResponse_Opened_{
		Opened: &discoveryv1.SessionResponse_Opened{
			Instance:      toProtoInstance(&i),
			RenewInterval: durationpb.New(mesh.RenewInterval),
			Lease:         durationpb.New(mesh.LeaseTTL),
			Members:       h.members(),
		}}})
	if err != nil {
		s.Close(true)
		return nil, err
	}
	return s, nil
}

// beats answers what the client sends until it sends no more.
func (h *handler) beats(ctx context.Context, stream *sessionStream, s mesh.Session) error {
	for {
		m, err := stream.Receive()
		if err != nil {
			return err
		}
		if m.GetLetGo() != nil {
			return errLetGo
		}
		ack := &discoveryv1.SessionResponse_Ack{Sequence: m.GetSequence()}
		if err := beat(ctx, s, m); err != nil {
			ack.Problem = httpapi.RPCProblem(err)
		}
		i := s.Instance()
		ack.Draining = i.Draining
		if err := stream.Send(&discoveryv1.SessionResponse{Kind: &discoveryv1.SessionResponse_Ack_{Ack: ack}}); err != nil {
			return err
		}
	}
}

func beat(ctx context.Context, s mesh.Session, m *discoveryv1.SessionRequest) error {
	switch k := m.GetKind().(type) {
	case *discoveryv1.SessionRequest_Renew:
		return s.Renew(ctx)
	case *discoveryv1.SessionRequest_Report:
		rep, err := fromProtoVerdict(k.Report)
		if err != nil {
			return err
		}
		return s.Report(ctx, rep)
	}
	return wrongField("kind", "is neither renew nor report")
}

// sayEnd tells a client that still listens why its session is over, and decides whether the instance
// was lost. err is why no more was read.
func (h *handler) sayEnd(ctx context.Context, stream *sessionStream, s mesh.Session, err error) (lost bool, _ error) {
	var why error
	select {
	case <-s.Done():
		why = s.Err()
	default:
		if errors.Is(context.Cause(ctx), httpapi.ErrStopping) {
			why = stopping()
		}
	}
	if why == nil {
		switch {
		case errors.Is(err, errLetGo):
			return false, nil
		case errors.Is(err, io.EOF):
			return true, nil
		}
		return true, err
	}
	// The client is gone if this fails.
	_ = stream.Send(&discoveryv1.SessionResponse{Kind: &discoveryv1.SessionResponse_Ended_{
		Ended: &discoveryv1.SessionResponse_Ended{Problem: httpapi.RPCProblem(why)}}})
	return false, nil
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

type writerKey struct{}

// withWriter lets a stream's handler reach the deadlines of its request.
func withWriter(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), writerKey{}, w)))
	})
}

type deadlines struct{ c *http.ResponseController }

func readDeadlines(ctx context.Context) deadlines {
	w, _ := ctx.Value(writerKey{}).(http.ResponseWriter)
	return deadlines{http.NewResponseController(w)}
}

// set moves the read deadline; zero removes it. A request whose connection is gone has none.
func (d deadlines) set(t time.Time) { _ = d.c.SetReadDeadline(t) }
