package app_test

import (
	"io"
	"net"
)

// shortFrame is a frame of text, of less than 126 bytes. A client's is masked with zeros.
func shortFrame(text string, client bool) string {
	if client {
		return string([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}) + text
	}
	return string([]byte{0x81, byte(len(text))}) + text
}

// frames writes and reads text in short frames.
type frames struct {
	io.Writer
	io.Reader
	client bool // whose end it is
	left   []byte
}

// Write sends p in one frame.
func (f *frames) Write(p []byte) (int, error) {
	if _, err := io.WriteString(f.Writer, shortFrame(string(p), f.client)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Read reads what the other end sent in a frame.
func (f *frames) Read(p []byte) (int, error) {
	for len(f.left) == 0 {
		head := make([]byte, 2)
		if _, err := io.ReadFull(f.Reader, head); err != nil {
			return 0, err
		}
		if !f.client {
			if _, err := io.ReadFull(f.Reader, make([]byte, 4)); err != nil { // a key of zeros
				return 0, err
			}
		}
		f.left = make([]byte, head[1]&0x7f)
		if _, err := io.ReadFull(f.Reader, f.left); err != nil {
			return 0, err
		}
	}
	n := copy(p, f.left)
	f.left = f.left[n:]
	return n, nil
}

// echoFrames sends back what a client says.
func echoFrames(conn net.Conn, from io.Reader) {
	f := &frames{Writer: conn, Reader: from}
	_, _ = io.Copy(struct{ io.Writer }{f}, struct{ io.Reader }{f})
}
