package websocket_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/websocket"
)

// The key and its answer are those of RFC 6455 section 1.3.
const (
	key     = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
	answer  = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
	version = "Sec-WebSocket-Version: 13"
)

func fields(lines ...string) exchange.Fields {
	var f exchange.Fields
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		f = append(f, exchange.Field{Name: []byte(name), Value: []byte(value)})
	}
	return f
}

func TestTheClientsHalfOfAHandshake(t *testing.T) {
	for _, row := range []struct {
		name string
		f    exchange.Fields
		want error
	}{
		{"a right one", fields(version, key), nil},
		{"in other letters", fields(strings.ToLower(version), "SEC-WEBSOCKET-KEY: dGhlIHNhbXBsZSBub25jZQ=="), nil},
		{"W-8 no version", fields(key), websocket.ErrVersion},
		{"W-8 version 8", fields("Sec-WebSocket-Version: 8", key), websocket.ErrVersion},
		{"W-8 several versions", fields("Sec-WebSocket-Version: 13, 8", key), websocket.ErrVersion},
		{"W-8 the version twice", fields(version, version, key), websocket.ErrTwice},
		{"W-8 no key", fields(version), websocket.ErrKey},
		{"W-8 an empty key", fields(version, "Sec-WebSocket-Key: "), websocket.ErrKey},
		{"W-8 the key twice", fields(version, key, key), websocket.ErrTwice},
		{"W-8 a key of 15 bytes", fields(version, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"), websocket.ErrKey},
		{"W-8 a key of 17 bytes", fields(version, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWQ="), websocket.ErrKey},
		{"W-8 a key of 18 bytes", fields(version, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWRk"), websocket.ErrKey},
		{"W-8 a key without padding", fields(version, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"), websocket.ErrKey},
		{"W-8 a key that is not base64", fields(version, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!Q=="), websocket.ErrKey},
		{"W-8 a key with loose bits", fields(version, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR=="), websocket.ErrKey},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := websocket.CheckRequest(row.f); !errors.Is(err, row.want) {
				t.Errorf("%v, want %v", err, row.want)
			}
		})
	}
}

func TestTheEndpointsHalfOfAHandshake(t *testing.T) {
	for _, row := range []struct {
		name string
		f    exchange.Fields
		want error
	}{
		{"a right one", fields(answer), nil},
		{"W-8 none", nil, websocket.ErrAccept},
		{"W-8 of another key", fields("Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk="), websocket.ErrAccept},
		{"W-8 in other letters", fields("Sec-WebSocket-Accept: S3PPLMBiTxaQ9kYGzzhZRbK+xOo="), websocket.ErrAccept},
		{"W-8 twice", fields(answer, answer), websocket.ErrAccept},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := websocket.CheckAnswer(fields(version, key), row.f); !errors.Is(err, row.want) {
				t.Errorf("%v, want %v", err, row.want)
			}
		})
	}
}

func TestExtensionsGiveReservedBitsAMeaning(t *testing.T) {
	for _, row := range []struct {
		value string
		want  websocket.Reserved
	}{
		{"", websocket.ReservedNone},
		{"permessage-deflate", websocket.ReservedDeflate},
		{"permessage-deflate; client_max_window_bits=10; x=\"a,b\"", websocket.ReservedDeflate},
		{"permessage-deflate, x-other", websocket.ReservedAll},
		{"x-webkit-deflate-frame", websocket.ReservedAll},
	} {
		var f exchange.Fields
		if row.value != "" {
			f = fields("Sec-WebSocket-Extensions: " + row.value)
		}
		if got := websocket.ReservedOf(f); got != row.want {
			t.Errorf("%q: %d, want %d", row.value, got, row.want)
		}
	}
}
