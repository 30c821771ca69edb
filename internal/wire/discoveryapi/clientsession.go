package discoveryapi

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"connectrpc.com/connect"

	discoveryv1 "github.com/toska-mesh/toska-mesh/api/discovery/v1"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	// ackTimeout is how long a heartbeat may go without its ack before the node counts as gone.
	ackTimeout = mesh.RenewInterval
	// farewell is how long letting go of a session may take before its stream is cut.
	farewell = time.Second
)

var errStreamEnded = errors.New("the node ended the stream")

type clientStream = connect.BidiStreamForClientSimple[discoveryv1.SessionRequest, discoveryv1.SessionResponse]

// Open implements mesh.Discovery. ctx bounds the opening; the session lives until it is closed, the
// client is, or the stream ends. A heartbeat that is not answered within ten seconds ends it.
func (c *Client) Open(ctx context.Context, r mesh.Registration, resume uint64) (mesh.Session, error) {
	if !c.tasks.begin() {
		return nil, c.closed()
	}
	op := "open a session of " + r.Service
	ctx, stop := context.WithTimeout(ctx, callTimeout)
	defer stop()
	cut, err := c.newStream()
	if err != nil {
		c.tasks.done()
		return nil, c.explain(op, err)
	}
	unhook := context.AfterFunc(ctx, cut.cancel)
	i, err := openStream(cut.stream, r, resume)
	if err != nil || !unhook() {
		cut.end()
		c.tasks.done()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, c.explain(op, err)
	}
	s := &session{client: c, stream: cut, instance: i, sending: make(chan struct{}, 1),
		waiting: make(map[uint64]chan error), done: make(chan struct{})}
	s.reader.Go(func() {
		defer c.tasks.done()
		s.read()
	})
	return s, nil
}

// openStream asks for the session and waits until it is open.
func openStream(stream *clientStream, r mesh.Registration, resume uint64) (mesh.Instance, error) {
	err := stream.Send(&discoveryv1.SessionRequest{Kind: &discoveryv1.SessionRequest_Open_{
		Open: &discoveryv1.SessionRequest_Open{Registration: toProtoRegistration(r), Resume: resume}}})
	// After io.EOF the reason is what can be received.
	if err != nil && !errors.Is(err, io.EOF) {
		return mesh.Instance{}, err
	}
	m, err := stream.Receive()
	if err != nil {
		return mesh.Instance{}, err
	}
	return fromProtoInstance(m.GetOpened().GetInstance())
}

// cuttable is a stream that its cancel function cuts. Ending the context alone would not do: while a
// request still has a body to send, net/http does not look at it once the answer has begun.
type cuttable struct {
	stream *clientStream
	cancel context.CancelFunc
	closed chan struct{} // closed when nothing of the stream runs on
}

func (c *Client) newStream() (*cuttable, error) {
	ctx, cancel := context.WithCancel(c.base)
	stream, err := c.rpc.Session(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	t := &cuttable{stream: stream, cancel: cancel, closed: make(chan struct{})}
	context.AfterFunc(ctx, func() {
		defer close(t.closed)
		// It is over, whatever this says.
		_ = stream.CloseResponse()
	})
	return t, nil
}

// end cuts the stream and waits for it.
func (t *cuttable) end() {
	t.cancel()
	<-t.closed
}

// session is the client's end of a session's stream.
type session struct {
	client   *Client
	stream   *cuttable
	instance mesh.Instance
	reader   sync.WaitGroup
	// sending holds the turn of whoever sends: a stream takes one message at a time.
	sending chan struct{}
	done    chan struct{} // closed by end

	mu      sync.Mutex // guards what follows
	seq     uint64
	waiting map[uint64]chan error // each has room for its one answer
	over    bool
	closing bool
	err     error
	// draining is what the last ack said.
	draining bool
}

// Instance implements mesh.Session.
func (s *session) Instance() mesh.Instance {
	i := s.instance
	s.mu.Lock()
	defer s.mu.Unlock()
	i.Draining = i.Draining || s.draining
	return i
}

// Done implements mesh.Session.
func (s *session) Done() <-chan struct{} { return s.done }

// Err implements mesh.Session.
func (s *session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Renew implements mesh.Session.
func (s *session) Renew(ctx context.Context) error {
	return s.beat(ctx, &discoveryv1.SessionRequest{
		Kind: &discoveryv1.SessionRequest_Renew{Renew: &discoveryv1.SessionRequest_Beat{}}})
}

// Report implements mesh.Session.
func (s *session) Report(ctx context.Context, rep mesh.Report) error {
	return s.beat(ctx, &discoveryv1.SessionRequest{
		Kind: &discoveryv1.SessionRequest_Report{Report: toProtoVerdict(rep)}})
}

// Close implements mesh.Session. Without loss it says so and lets the node end the stream; with loss, or
// if that takes too long, the stream is cut.
func (s *session) Close(lost bool) {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	if lost {
		s.stream.cancel()
	} else {
		cut := time.AfterFunc(farewell, s.stream.cancel)
		defer cut.Stop()
		s.sending <- struct{}{}
		// The stream is over already if these fail.
		_ = s.stream.stream.Send(&discoveryv1.SessionRequest{
			Kind: &discoveryv1.SessionRequest_LetGo_{LetGo: &discoveryv1.SessionRequest_LetGo{}}})
		_ = s.stream.stream.CloseRequest()
		<-s.sending
	}
	s.reader.Wait()
}

// beat sends a heartbeat and waits for its ack.
func (s *session) beat(ctx context.Context, m *discoveryv1.SessionRequest) error {
	silent := time.AfterFunc(ackTimeout, func() {
		s.end(&mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable,
			Detail: "the node at " + s.client.control + " did not answer a heartbeat within " + ackTimeout.String()})
		s.stream.cancel()
	})
	defer silent.Stop()
	seq, ack, err := s.expect()
	if err != nil {
		return err
	}
	m.Sequence = seq
	select {
	case s.sending <- struct{}{}:
		err = s.stream.stream.Send(m)
		<-s.sending
	case <-ctx.Done():
		s.forget(seq)
		return ctx.Err()
	}
	if err != nil {
		// Why the stream is over is what its reader finds; it always ends with a reason.
		s.stream.cancel()
	}
	select {
	case err := <-ack:
		return err
	case <-ctx.Done():
		s.forget(seq)
		return ctx.Err()
	}
}

// expect makes room for an ack.
func (s *session) expect() (uint64, <-chan error, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return 0, nil, s.errLocked()
	}
	s.seq++
	ch := make(chan error, 1)
	s.waiting[s.seq] = ch
	return s.seq, ch, nil
}

func (s *session) forget(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, seq)
}

func (s *session) errLocked() error {
	if s.err != nil {
		return s.err
	}
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: "the session is closed"}
}

// read takes the node's messages until the stream is over.
func (s *session) read() {
	for {
		m, err := s.stream.stream.Receive()
		switch {
		case errors.Is(err, io.EOF):
			s.end(s.client.explain("session of "+s.instance.ID, errStreamEnded))
		case err != nil:
			s.end(s.client.explain("session of "+s.instance.ID, err))
		case m.GetEnded() != nil:
			s.end(httpapi.FromRPCProblem(m.GetEnded().GetProblem()))
		default:
			s.acked(m.GetAck())
			continue
		}
		// Whatever is left unread of the stream has no meaning any more.
		s.stream.end()
		return
	}
}

func (s *session) acked(ack *discoveryv1.SessionResponse_Ack) {
	s.mu.Lock()
	ch, ok := s.waiting[ack.GetSequence()]
	delete(s.waiting, ack.GetSequence())
	s.draining = ack.GetDraining()
	s.mu.Unlock()
	if ok {
		ch <- httpapi.FromRPCProblem(ack.GetProblem())
	}
}

// end makes the session over, once, and tells everyone who waits; err is why.
func (s *session) end(err error) {
	if err == nil {
		err = s.client.explain("session of "+s.instance.ID, errStreamEnded)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.over = true
	if !s.closing {
		s.err = err
		close(s.done)
	}
	for seq, ch := range s.waiting {
		ch <- s.errLocked()
		delete(s.waiting, seq)
	}
}
