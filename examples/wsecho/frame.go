package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
)

// The opcodes of RFC 6455 that are not data.
const (
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xA
)

// largest is how long a frame may be.
const largest = 1 << 16

// frame is a part of a message, or a word about the connection.
type frame struct {
	final   bool
	opcode  byte
	payload []byte
}

// accept proves to a client that its key was read (RFC 6455, 4.2.2).
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// readFrame reads what a client sends, which is always masked.
func readFrame(r io.Reader) (frame, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	if head[1]&0x80 == 0 {
		return frame{}, errors.New("the frame is not masked")
	}
	n, err := length(r, head[1]&0x7f)
	if err != nil {
		return frame{}, err
	}
	var mask [4]byte
	if _, err := io.ReadFull(r, mask[:]); err != nil {
		return frame{}, err
	}
	f := frame{final: head[0]&0x80 != 0, opcode: head[0] & 0x0f, payload: make([]byte, n)}
	if _, err := io.ReadFull(r, f.payload); err != nil {
		return frame{}, err
	}
	for i := range f.payload {
		f.payload[i] ^= mask[i%4]
	}
	return f, nil
}

// length reads the rest of a frame's length.
func length(r io.Reader, short byte) (uint64, error) {
	var b [8]byte
	switch short {
	default:
		return uint64(short), nil
	case 126:
		if _, err := io.ReadFull(r, b[6:]); err != nil {
			return 0, err
		}
	case 127:
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return 0, err
		}
	}
	n := binary.BigEndian.Uint64(b[:])
	if n > largest {
		return 0, errors.New("the frame is too long")
	}
	return n, nil
}

// writeFrame writes a frame as a server does, without a mask.
func writeFrame(w *bufio.Writer, f frame) error {
	first := f.opcode
	if f.final {
		first |= 0x80
	}
	head := []byte{first}
	switch n := len(f.payload); {
	case n < 126:
		head = append(head, byte(n))
	case n < 1<<16:
		head = binary.BigEndian.AppendUint16(append(head, 126), uint16(n))
	default:
		head = binary.BigEndian.AppendUint64(append(head, 127), uint64(n))
	}
	_, _ = w.Write(head) // its error comes again with the next Write
	_, err := w.Write(f.payload)
	return err
}
