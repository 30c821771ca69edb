package toska

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// source is the body of a request, for as many attempts as may have it.
type source struct {
	first io.ReadCloser // nil for none
	anew  func() (io.ReadCloser, error)
	given *guarded
}

func newSource(req *http.Request) *source {
	if req.Body == nil || req.Body == http.NoBody {
		return &source{}
	}
	return &source{first: req.Body, anew: req.GetBody}
}

// next returns the body for the next attempt.
func (s *source) next() (io.ReadCloser, error) {
	switch {
	case s.first == nil:
		return nil, nil
	case s.given == nil || s.given.untouched():
		// A body that nobody has read from is as good as new.
		s.given = &guarded{body: s.first}
		return s.given, nil
	}
	body, err := s.anew()
	if err != nil {
		return nil, err
	}
	s.close()
	s.first, s.given = body, &guarded{body: body}
	return s.given, nil
}

// again reports whether the body may be sent once more, after it was or may have been sent.
func (s *source) again() bool { return s.first == nil || s.anew != nil }

// untouched reports whether nothing of the body is lost, or can be had again.
func (s *source) untouched() bool { return s.again() || s.given.untouched() }

// fault is what the caller's own body failed with.
func (s *source) fault() error {
	if s.given == nil {
		return nil
	}
	s.given.mu.Lock()
	defer s.given.mu.Unlock()
	return s.given.err
}

// settle leaves the body to the transport that has it.
func (s *source) settle() {
	if s.given != nil {
		s.given.settle()
	}
}

// close closes the body for good, as every RoundTripper does in the end.
func (s *source) close() {
	if s.given != nil {
		s.given.settle()
		s.given.closeBody()
	} else if s.first != nil {
		_ = s.first.Close()
	}
}

// guarded keeps a body open that a transport closes before it has read from it: a connection that could not
// be made costs no body.
type guarded struct {
	body  io.ReadCloser
	close sync.Once

	mu      sync.Mutex // guards what follows; not held while the body is read
	touched bool
	closed  bool  // by the transport
	final   bool  // there is no next attempt
	err     error // of the body itself
}

// Read notes that something is gone, and what the body fails with.
func (g *guarded) Read(p []byte) (int, error) {
	g.mu.Lock()
	g.touched = true
	closed := g.closed
	g.mu.Unlock()
	if closed {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := g.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		g.mu.Lock()
		if !g.closed { // what a body says once it is closed is no fault of its own
			g.err = err
		}
		g.mu.Unlock()
	}
	return n, err
}

// Close closes the body unless it may be needed again.
func (g *guarded) Close() error {
	g.mu.Lock()
	g.closed = true
	keep := !g.touched && !g.final
	g.mu.Unlock()
	if !keep {
		g.closeBody()
	}
	return nil
}

func (g *guarded) closeBody() { g.close.Do(func() { _ = g.body.Close() }) }

func (g *guarded) untouched() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.touched
}

// settle says that there is no next attempt. The transport may be reading still, and closes the body then.
func (g *guarded) settle() {
	g.mu.Lock()
	g.final = true
	closed := g.closed
	g.mu.Unlock()
	if closed {
		g.closeBody()
	}
}
