package http1

import (
	"bytes"
	"errors"
	"io"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// chunkState is where the reader of a chunked body stands (RFC 9112 section 7.1).
type chunkState uint8

const (
	atSize    chunkState = iota // a size line comes next
	inData                      // left bytes of data, then CRLF
	atTrailer                   // the last chunk was read
)

var (
	errChunkSize = framingFault("a chunk size is not 1 to 16 hexadecimal digits")
	errChunkEnd  = framingFault("chunk data does not end where its size says")
	errChunkLine = framingFault("a chunk's size line or its extensions are too long")
)

// toData brings the reader to the data of a chunk, with left > 0. At the end of the body it reads the
// trailers and returns io.EOF.
func (b *body) toData() error {
	for {
		switch b.chunk {
		case atSize:
			if err := b.readSize(); err != nil {
				return err
			}
		case inData:
			if b.left > 0 {
				return nil
			}
			if err := b.readDataEnd(); err != nil {
				return err
			}
		case atTrailer:
			if err := b.readTrailers(); err != nil {
				return err
			}
			b.done = true
			return io.EOF
		}
	}
}

func (b *body) readSize() error {
	line, err := b.line(chunkLineBytes, errChunkLine)
	if err != nil {
		return err
	}
	size, ext, err := parseChunkLine(line)
	if err != nil {
		return err
	}
	if b.ext += ext; b.ext > chunkExtensionBytes {
		return errChunkLine
	}
	b.src.consume(len(line) + 2)
	if size == 0 {
		b.chunk = atTrailer
		return nil
	}
	b.chunk, b.left = inData, size
	return nil
}

// parseChunkLine reads a size line without its CRLF, and returns the size and how many bytes of
// extensions followed it. Extensions are skipped: nothing that is in use means anything by them.
func parseChunkLine(line []byte) (size int64, ext int, err error) {
	digits := 0
	for digits < len(line) && isHexDigit(line[digits]) {
		digits++
	}
	if digits == 0 || digits > 16 {
		return 0, 0, errChunkSize
	}
	var n uint64
	for _, c := range line[:digits] {
		n = n<<4 | uint64(hexValue(c))
	}
	rest := line[digits:]
	if len(rest) > 0 && rest[0] != ';' || !all(rest, &fieldOctet) {
		return 0, 0, errChunkSize
	}
	if n > 1<<62 {
		return 0, 0, errChunkSize
	}
	return int64(n), len(rest), nil
}

func hexValue(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

func (b *body) readDataEnd() error {
	for len(b.src.pending()) < 2 {
		if err := b.more(); err != nil {
			return err
		}
	}
	if p := b.src.pending(); p[0] != '\r' || p[1] != '\n' {
		return errChunkEnd
	}
	b.src.consume(2)
	b.chunk = atSize
	return nil
}

func (b *body) readTrailers() error {
	for {
		fields, n, err := parseFields(b.src.pending(), 0, b.lim, b.trailers[:0])
		b.trailers = fields
		if err == nil {
			b.src.r += n // not consumed: the fields stay where they are
			b.keepTrailers()
			return nil
		}
		if !errors.Is(err, errIncomplete) {
			return err
		}
		if err := b.more(); err != nil {
			return err
		}
	}
}

// keepTrailers drops the trailers that would change how the message is framed, routed or trusted
// (RFC 9110 section 6.5.1).
func (b *body) keepTrailers() {
	kept := b.trailers[:0]
	for _, f := range b.trailers {
		if f.Kind == exchange.Plain {
			kept = append(kept, f)
		}
	}
	b.trailers = kept
}

// line returns the pending line without its CRLF, reading on until it is whole.
func (b *body) line(limit int, tooLong error) ([]byte, error) {
	for {
		p := b.src.pending()
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			if i == 0 || p[i-1] != '\r' {
				return nil, errBareLF
			}
			if i > limit {
				return nil, tooLong
			}
			return p[:i-1], nil
		}
		if len(p) > limit {
			return nil, tooLong
		}
		if err := b.more(); err != nil {
			return nil, err
		}
	}
}

// more reads on behind what is pending, making room first.
func (b *body) more() error {
	if b.src.room() == 0 {
		b.src.slide()
		if b.src.room() == 0 {
			return errChunkLine
		}
	}
	if err := b.wait(); err != nil {
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}
