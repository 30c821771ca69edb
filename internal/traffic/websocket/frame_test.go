package websocket_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/toska-mesh/toska-mesh/internal/traffic/websocket"
)

// frame is one as an end sends it. first is the byte with the opcode.
func frame(from websocket.Sender, first byte, payload string) string {
	b := []byte{first}
	mask := byte(0)
	if from == websocket.Client {
		mask = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b = append(b, mask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), uint64(n))
	}
	if from == websocket.Client {
		b = append(b, 1, 2, 3, 4)
	}
	return string(b) + payload
}

// outcome is what a scanner lets go on of a stream that comes in pieces.
type outcome struct {
	passed         string
	border, closed bool
	err            error
}

func scan(from websocket.Sender, r websocket.Reserved, stream string, size func() int) outcome {
	s := websocket.NewScanner(from, r)
	var out outcome
	var passed bytes.Buffer
	for rest := []byte(stream); len(rest) > 0 && out.err == nil && !s.Closed(); {
		p := rest[:min(size(), len(rest))]
		rest = rest[len(p):]
		for len(p) > 0 && out.err == nil && !s.Closed() {
			var piece websocket.Piece
			piece, out.err = s.Scan(p, false)
			passed.Write(piece.Lead)
			passed.Write(p[:piece.Pass])
			p = p[piece.Used:]
		}
	}
	out.passed, out.border, out.closed = passed.String(), s.Border(), s.Closed()
	return out
}

func whole() int   { return 1 << 20 }
func byByte() int  { return 1 }
func inThree() int { return 3 }

var sizes = map[string]func() int{"whole": whole, "byte by byte": byByte, "three by three": inThree}

const (
	text  = 0x81
	more  = 0x01 // the first of several
	cont  = 0x00
	last  = 0x80
	ping  = 0x89
	closd = 0x88
)

func TestWhatFramesMayBe(t *testing.T) {
	const c, e = websocket.Client, websocket.Endpoint
	const none, deflate, all = websocket.ReservedNone, websocket.ReservedDeflate, websocket.ReservedAll
	long := strings.Repeat("x", 1<<16)
	good := frame(c, text, "hello")
	for _, row := range []struct {
		name     string
		from     websocket.Sender
		reserved websocket.Reserved
		stream   string
		passed   int // -1 for all
		err      error
	}{
		{"text", c, none, good + good, -1, nil},
		{"an empty frame", c, none, frame(c, text, "") + good, -1, nil},
		{"of 125 bytes", e, none, frame(e, text, long[:125]), -1, nil},
		{"of 126 bytes", e, none, frame(e, text, long[:126]), -1, nil},
		{"of 64 KiB less one", c, none, frame(c, text, long[:1<<16-1]), -1, nil},
		{"of 64 KiB", c, none, frame(c, 0x82, long), -1, nil},
		{"text that is not UTF-8, which the ends judge", c, none, frame(c, text, "\xff\xfe"), -1, nil},
		{"fragments with a ping between", c, none, frame(c, more, "a") + frame(c, ping, "?") + frame(c, cont, "b") + frame(c, last, "c") + good, -1, nil},
		{"a ping of 125 bytes", e, none, frame(e, ping, long[:125]), -1, nil},
		{"compressed, as agreed", c, deflate, frame(c, text|0x40, "a") + frame(c, more|0x40, "a") + frame(c, last, "b"), -1, nil},
		{"of an extension that is not known here", c, all, frame(c, text|0x70, "a") + frame(c, more|0x10, "") + frame(c, last|0x20, ""), -1, nil},
		{"a close, and what comes behind it", e, none, frame(e, closd, "\x03\xe8bye") + frame(e, text, "late"), 7, nil},
		{"a close without a status", c, none, frame(c, closd, ""), -1, nil},

		{"W-8 an unmasked frame of a client", c, none, good + frame(e, text, "a"), len(good), websocket.ErrUnmasked},
		{"W-8 a masked frame of an endpoint", e, none, frame(c, text, "a"), 0, websocket.ErrMasked},
		{"W-8 a ping of 126 bytes", c, none, good + frame(c, ping, long[:126]), len(good), websocket.ErrControl},
		{"W-8 a ping of 64 KiB", e, none, frame(e, ping, long), 0, websocket.ErrControl},
		{"W-8 a fragmented ping", c, none, frame(c, ping&0xf, "a"), 0, websocket.ErrControl},
		{"W-8 a fragmented close", c, none, frame(c, closd&0xf, ""), 0, websocket.ErrControl},
		{"W-8 a close of one byte", c, none, frame(c, closd, "x"), 0, websocket.ErrShortClose},
		{"a reserved data opcode", c, none, frame(c, 0x83, "a"), 0, websocket.ErrOpcode},
		{"the last reserved data opcode", c, all, frame(c, 0x87, "a"), 0, websocket.ErrOpcode},
		{"a reserved control opcode", c, none, frame(c, 0x8b, "a"), 0, websocket.ErrOpcode},
		{"the last opcode", c, none, frame(c, 0x8f, "a"), 0, websocket.ErrOpcode},
		{"compressed without an agreement", c, none, frame(c, text|0x40, "a"), 0, websocket.ErrReserved},
		{"another bit with compression", c, deflate, frame(c, text|0x20, "a"), 0, websocket.ErrReserved},
		{"a compressed fragment", c, deflate, frame(c, more|0x40, "a") + frame(c, last|0x40, "b"), len(frame(c, more, "a")), websocket.ErrReserved},
		{"a compressed ping", c, all, frame(c, ping|0x40, "a"), 0, websocket.ErrReserved},
		{"a fragment without a beginning", c, none, frame(c, last, "a"), 0, websocket.ErrFragment},
		{"a message within another", c, none, frame(c, more, "a") + frame(c, text, "b"), len(frame(c, more, "a")), websocket.ErrFragment},
		{"5 bytes said in 16 bits", e, none, "\x81\x7e\x00\x05hello", 0, websocket.ErrLength},
		{"5 bytes said in 64 bits", e, none, "\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x05hello", 0, websocket.ErrLength},
		{"a length of 64 bits", e, none, "\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00", 0, websocket.ErrLength},
	} {
		t.Run(row.name, func(t *testing.T) {
			want := row.stream
			if row.passed >= 0 {
				want = want[:row.passed]
			}
			for how, size := range sizes {
				got := scan(row.from, row.reserved, row.stream, size)
				if got.passed != want || !errors.Is(got.err, row.err) || !got.border {
					t.Errorf("%s: passed %d bytes of %d, error %v, at a border: %v; want %d, %v, true",
						how, len(got.passed), len(row.stream), got.err, got.border, len(want), row.err)
				}
			}
		})
	}
}

func TestAHeaderIsKeptUntilItIsWhole(t *testing.T) {
	stream := frame(websocket.Client, text, strings.Repeat("x", 300))
	for n := range len(stream) {
		s := websocket.NewScanner(websocket.Client, websocket.ReservedNone)
		piece, err := s.Scan([]byte(stream[:n]), false)
		want := n
		if n < 8 {
			want = 0
		}
		if err != nil || piece.Pass != want || piece.Used != n || s.Border() != (n < 8) {
			t.Errorf("of %d bytes %d pass and %d are used, at a border: %v, %v", n, piece.Pass, piece.Used, s.Border(), err)
		}
	}
}

func TestAScanCanEndAtTheNextBorder(t *testing.T) {
	s := websocket.NewScanner(websocket.Endpoint, websocket.ReservedNone)
	one, two := frame(websocket.Endpoint, text, "one"), frame(websocket.Endpoint, text, "two")
	p := []byte(one + two)
	if piece, err := s.Scan(p[:3], false); piece.Pass != 3 || s.Border() || err != nil {
		t.Fatalf("%+v, %v", piece, err)
	}
	piece, err := s.Scan(p[3:], true)
	if piece.Pass != len(one)-3 || piece.Used != piece.Pass || !s.Border() || err != nil {
		t.Errorf("%+v, %v; want the rest of the first frame", piece, err)
	}
}

// However a stream is cut, the same of it passes.
func TestPiecesDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.SampledFrom([]websocket.Sender{websocket.Client, websocket.Endpoint}).Draw(t, "from")
		reserved := rapid.SampledFrom([]websocket.Reserved{websocket.ReservedNone, websocket.ReservedDeflate, websocket.ReservedAll}).Draw(t, "reserved")
		var stream strings.Builder
		for range rapid.IntRange(0, 6).Draw(t, "frames") {
			first := byte(rapid.SampledFrom([]int{text, more, cont, last, ping, closd, text | 0x40, 0x83}).Draw(t, "first"))
			stream.WriteString(frame(from, first, strings.Repeat("p", rapid.SampledFrom([]int{0, 1, 2, 125, 126, 700}).Draw(t, "length"))))
		}
		want := scan(from, reserved, stream.String(), whole)
		got := scan(from, reserved, stream.String(), func() int { return rapid.IntRange(1, 9).Draw(t, "size") })
		if got.passed != want.passed || got.closed != want.closed || !errors.Is(got.err, want.err) {
			t.Fatalf("in pieces %d bytes pass, closed %v, %v; whole %d, %v, %v",
				len(got.passed), got.closed, got.err, len(want.passed), want.closed, want.err)
		}
	})
}

func TestACloseFrameIsOne(t *testing.T) {
	for _, from := range []websocket.Sender{websocket.Client, websocket.Endpoint} {
		b := websocket.AppendClose(nil, from, websocket.GoingAway)
		got := scan(from, websocket.ReservedNone, string(b), byByte)
		if got.passed != string(b) || !got.closed || got.err != nil {
			t.Errorf("%x is %+v", b, got)
		}
		body := b[2:]
		if from == websocket.Client {
			body = []byte{b[6] ^ b[2], b[7] ^ b[3]}
		}
		if n := binary.BigEndian.Uint16(body); n != 1001 {
			t.Errorf("%x says %d, want 1001", b, n)
		}
	}
	one, two := websocket.AppendClose(nil, websocket.Client, 1001), websocket.AppendClose(nil, websocket.Client, 1001)
	if bytes.Equal(one, two) {
		t.Errorf("two masks are the same: %x", one)
	}
}

func TestAScanAllocatesNothing(t *testing.T) {
	p := []byte(frame(websocket.Client, text, "hello") + frame(websocket.Client, ping, ""))
	s := websocket.NewScanner(websocket.Client, websocket.ReservedNone)
	if n := testing.AllocsPerRun(100, func() { _, _ = s.Scan(p, false) }); n > 0 {
		t.Errorf("%.0f allocations, want 0", n)
	}
}

// FuzzScan asserts that whatever comes and however it is cut, what passes is a prefix of it that ends at a
// border or in a payload, and the same as byte by byte.
func FuzzScan(f *testing.F) {
	for _, s := range []string{
		frame(websocket.Client, text, "hello"), frame(websocket.Client, more, "a") + frame(websocket.Client, last, "b"),
		frame(websocket.Endpoint, closd, "\x03\xe9") + "x", "\x81\x7e\x00\x05hello", "\x89\xff", "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00",
	} {
		f.Add([]byte(s), uint8(0), uint8(3), false)
	}
	f.Fuzz(func(t *testing.T, stream []byte, reserved, size uint8, endpoint bool) {
		from := websocket.Client
		if endpoint {
			from = websocket.Endpoint
		}
		r := websocket.Reserved(reserved % 3)
		want := scan(from, r, string(stream), byByte)
		got := scan(from, r, string(stream), func() int { return int(size)%64 + 1 })
		if got.passed != want.passed || got.border != want.border || got.closed != want.closed || !errors.Is(got.err, want.err) {
			t.Fatalf("in pieces %+v, byte by byte %+v", got, want)
		}
		if !strings.HasPrefix(string(stream), got.passed) {
			t.Fatalf("%q passed of %q", got.passed, stream)
		}
		again := scan(from, r, got.passed, whole)
		if again.passed != got.passed || again.err != nil || again.border != got.border {
			t.Fatalf("what passed is %+v the second time, %+v before", again, got)
		}
	})
}
