package websocket

import (
	"crypto/sha1" // what RFC 6455 asks for; nothing here is kept safe by it
	"encoding/base64"
	"errors"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// Version is the one version of the protocol.
const Version = "13"

// What is wrong with the client's half of a handshake (RFC 6455 section 4.2.1). ErrVersion is answered
// with 426 and the version that is spoken, the others with 400.
var (
	ErrVersion = errors.New("the only version of WebSocket that is spoken here is 13, and Sec-WebSocket-Version does not ask for it")
	ErrTwice   = errors.New("Sec-WebSocket-Version or Sec-WebSocket-Key is given twice")
	ErrKey     = errors.New("Sec-WebSocket-Key is missing, or not the base64 form of 16 bytes")
)

// ErrAccept is an endpoint's half that does not belong to the client's (RFC 6455 section 4.2.2).
var ErrAccept = errors.New("Sec-WebSocket-Accept is missing, given twice, or not of this request's key")

const (
	keyName    = "Sec-WebSocket-Key"
	acceptName = "Sec-WebSocket-Accept"
	magic      = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	// keyBytes is how long 16 bytes are in base64, acceptBytes how long a SHA-1.
	keyBytes    = 24
	acceptBytes = 28
)

// CheckRequest checks the fields of a request that asks for the protocol.
func CheckRequest(f exchange.Fields) error {
	version, n := single(f, "Sec-WebSocket-Version")
	if n > 1 {
		return ErrTwice
	}
	if string(version) != Version {
		return ErrVersion
	}
	key, n := single(f, keyName)
	if n > 1 {
		return ErrTwice
	}
	var room [keyBytes]byte
	if len(key) != keyBytes {
		return ErrKey
	}
	if n, err := base64.StdEncoding.Strict().Decode(room[:], key); err != nil || n != 16 {
		return ErrKey
	}
	return nil
}

// CheckAnswer checks what an endpoint answered to a request that was checked.
func CheckAnswer(request, answer exchange.Fields) error {
	key, _ := single(request, keyName)
	said, n := single(answer, acceptName)
	if want := accept(key); n != 1 || string(said) != string(want[:]) {
		return ErrAccept
	}
	return nil
}

// accept is what an endpoint answers to a key.
func accept(key []byte) (a [acceptBytes]byte) {
	h := sha1.New()
	h.Write(key)
	h.Write([]byte(magic))
	base64.StdEncoding.Encode(a[:], h.Sum(nil))
	return a
}

// single returns the last value of a field, and how many there are.
func single(f exchange.Fields, name string) (value []byte, n int) {
	for i := range f {
		if exchange.EqualFold(f[i].Name, name) {
			value = f[i].Value
			n++
		}
	}
	return value, n
}

// ReservedOf returns the reserved bits that an answer's extensions give a meaning: per-message deflate the
// first, in the frame that begins a message (RFC 7692 section 6); any other extension, of which nothing is
// known here, all of them.
func ReservedOf(answer exchange.Fields) Reserved {
	r := ReservedNone
	for i := range answer {
		if !exchange.EqualFold(answer[i].Name, "Sec-WebSocket-Extensions") {
			continue
		}
		for list := answer[i].Value; len(list) > 0; {
			var item []byte
			item, list = nextExtension(list)
			if !exchange.EqualFold(item, "permessage-deflate") {
				return ReservedAll
			}
			r = ReservedDeflate
		}
	}
	return r
}

// nextExtension cuts the first extension off a list, without its parameters.
func nextExtension(list []byte) (name, rest []byte) {
	quoted := false
	end := -1
	for i, c := range list {
		switch {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ';' && end < 0:
			end = i
		case c == ',':
			if end < 0 {
				end = i
			}
			return trim(list[:end]), list[i+1:]
		}
	}
	if end < 0 {
		end = len(list)
	}
	return trim(list[:end]), nil
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
