package toska

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// reply remembers what a handler has answered. It has what net/http's own writer has, so that handlers that
// look for it find it.
type reply struct {
	http.ResponseWriter
	status int
}

func newReply(w http.ResponseWriter) *reply { return &reply{ResponseWriter: w} }

// writer returns what the handler gets: with Hijack only where the connection can be taken over.
func (a *reply) writer() http.ResponseWriter {
	if h, ok := a.ResponseWriter.(http.Hijacker); ok {
		return &hijackable{a, h}
	}
	return a
}

// begun reports whether a part of the answer may have been sent.
func (a *reply) begun() bool { return a.status != 0 }

// code returns the status that was, or will be, sent.
func (a *reply) code() int {
	if a.status == 0 {
		return http.StatusOK
	}
	return a.status
}

// Unwrap is what http.ResponseController looks for.
func (a *reply) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (a *reply) WriteHeader(status int) {
	if a.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *reply) Write(b []byte) (int, error) {
	a.begin()
	return a.ResponseWriter.Write(b)
}

// ReadFrom implements io.ReaderFrom: a file goes to a socket without a copy.
func (a *reply) ReadFrom(r io.Reader) (int64, error) {
	a.begin()
	return io.Copy(a.ResponseWriter, r)
}

// Flush implements http.Flusher.
func (a *reply) Flush() {
	a.begin()
	_ = http.NewResponseController(a.ResponseWriter).Flush() // there is nobody to tell
}

func (a *reply) begin() {
	if a.status == 0 {
		a.status = http.StatusOK
	}
}

// hijackable is a reply whose connection can be taken over.
type hijackable struct {
	*reply
	taker http.Hijacker
}

// Hijack implements http.Hijacker.
func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := h.taker.Hijack()
	if err == nil {
		h.status = http.StatusSwitchingProtocols
	}
	return c, rw, err
}
