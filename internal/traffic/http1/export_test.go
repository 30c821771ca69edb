package http1

import (
	"errors"
	"io"
	"net"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// ErrIncomplete is what the parsers say when more must be read.
var ErrIncomplete = errIncomplete

// ParseRequest reads a head from the front of buf.
func ParseRequest(buf []byte, lim Limits) (r *exchange.Request, n int, chunked, last bool, err error) {
	req := new(request)
	req.reset()
	n, err = req.parse(buf, &lim)
	return &req.Request, n, req.chunked, req.close, err
}

// ParseResponse reads a head from the front of buf.
func ParseResponse(buf []byte, lim Limits) (h *exchange.Head, n int, chunked, last bool, err error) {
	var resp response
	n, err = resp.parse(buf, &lim)
	return &resp.Head, n, resp.chunked, resp.close, err
}

// ReadChunks reads a chunked body to its end, and returns it with its trailers and what lies behind.
func ReadChunks(conn net.Conn, lim Limits) (data []byte, trailers exchange.Fields, rest []byte, err error) {
	var src source
	src.start(conn, NewBuffers(lim), true)
	src.buf = src.buffers.get()
	var b body
	b.start(&src, &framing{chunked: true}, &lim, &exchange.Bounds{})
	for {
		p, err := b.Next()
		if err != nil {
			if b.done && errors.Is(err, io.EOF) {
				return data, b.Trailers(), src.pending(), nil
			}
			return data, nil, nil, err
		}
		data = append(data, p...)
	}
}
