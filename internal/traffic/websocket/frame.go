package websocket

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
)

// What is said in a close frame (RFC 6455 section 7.4.1).
const (
	// GoingAway is an end that leaves: a gateway that stops, an instance that drains.
	GoingAway = 1001
	// ProtocolError is a frame that cannot be.
	ProtocolError = 1002
)

// Sender is whose frames a Scanner reads.
type Sender uint8

const (
	// Client masks every frame.
	Client Sender = iota
	// Endpoint masks none.
	Endpoint
)

// Reserved says which of the reserved bits an extension has given a meaning.
type Reserved uint8

const (
	// ReservedNone is a tunnel without extensions: the bits are zero.
	ReservedNone Reserved = iota
	// ReservedDeflate has the first bit in the first frame of a message.
	ReservedDeflate
	// ReservedAll has all of them, in every frame but control frames.
	ReservedAll
)

// What a frame's header can have wrong (RFC 6455 section 5). Whoever sent it is closed with ProtocolError.
var (
	ErrReserved   = errors.New("a reserved bit is set that no extension has given a meaning")
	ErrOpcode     = errors.New("the opcode is a reserved one")
	ErrUnmasked   = errors.New("a frame of the client is not masked")
	ErrMasked     = errors.New("a frame of the endpoint is masked")
	ErrControl    = errors.New("a control frame is longer than 125 bytes or in fragments")
	ErrFragment   = errors.New("the fragments of a message are out of order")
	ErrLength     = errors.New("a frame's length is not in its shortest form, or beyond 63 bits")
	ErrShortClose = errors.New("a close frame has half a status")
)

const (
	opContinuation = 0x0
	opBinary       = 0x2
	opClose        = 0x8
	opPong         = 0xa
	opControl      = 0x8 // the bit that tells control frames apart

	finBit       = 0x80
	reservedBits = 0x70
	deflateBit   = 0x40
	maskBit      = 0x80

	// headerMost is the longest header: two bytes, a length of eight, a mask of four.
	headerMost = 14
	// controlMost is the longest payload of a control frame.
	controlMost = 125
)

// Scanner follows the frames of one direction. The zero value is not useful; see NewScanner.
type Scanner struct {
	from     Sender
	reserved Reserved
	// message says that one has begun whose last frame has not come
	message bool
	closing bool // the frame under way is a close frame
	closed  bool // and it has passed whole
	left    uint64
	// header is what came of one before it was whole
	header [headerMost]byte
	have   int
	lead   [headerMost]byte
}

// NewScanner returns one that stands before the first frame.
func NewScanner(from Sender, r Reserved) Scanner { return Scanner{from: from, reserved: r} }

// Border reports whether a frame has ended, as far as it may be passed on, and none has begun.
func (s *Scanner) Border() bool { return s.left == 0 }

// Closed reports whether a close frame has passed whole. What comes behind one has no meaning.
func (s *Scanner) Closed() bool { return s.closed }

// Piece is what of a stream may go on.
type Piece struct {
	// Lead is the front of a header that came before, and goes first. It lives until the next Scan.
	Lead []byte
	// Pass is how many of the bytes that were scanned go behind it.
	Pass int
	// Used is how many were scanned: the rest is to be scanned again.
	Used int
}

// Scan reads on in p. A header goes on when it is whole and in order, so that whatever has gone on ends
// at a border or in a payload, and never in a header; an error leaves the stream at a border. Behind a
// close frame nothing is read, and with one nothing behind the first border that is not where it began.
func (s *Scanner) Scan(p []byte, one bool) (Piece, error) {
	var out Piece
	for out.Used < len(p) && !s.closed {
		if s.left > 0 {
			n := min(s.left, uint64(len(p)-out.Used))
			s.left -= n
			out.Used += int(n)
			out.Pass = out.Used
			s.end()
			if one && s.left == 0 {
				break
			}
			continue
		}
		carried := s.have
		n, err := s.readHeader(p[out.Used:])
		if err != nil {
			return out, err
		}
		out.Used += n
		if s.have > 0 {
			break // the rest of the header is yet to come
		}
		if carried > 0 {
			s.lead = s.header
			out.Lead = s.lead[:carried]
		}
		out.Pass = out.Used
		s.end()
		if one && s.left == 0 {
			break
		}
	}
	return out, nil
}

// end notes a close frame that is whole.
func (s *Scanner) end() { s.closed = s.closed || s.closing && s.left == 0 }

// readHeader takes the bytes of a header from p, and enters the frame when it is whole; until then they
// are kept.
func (s *Scanner) readHeader(p []byte) (n int, err error) {
	for {
		need := s.need()
		take := min(need-s.have, len(p)-n)
		copy(s.header[s.have:], p[n:n+take])
		s.have += take
		n += take
		if s.have >= 2 {
			if err := s.check(); err != nil {
				return 0, err
			}
		}
		if s.have < need {
			return n, nil
		}
		if need == s.need() {
			break
		}
	}
	if err := s.enter(); err != nil {
		return 0, err
	}
	s.have = 0
	return n, nil
}

// need is how long the header is, as far as it is known.
func (s *Scanner) need() int {
	if s.have < 2 {
		return 2
	}
	n := 2
	switch s.header[1] &^ maskBit {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if s.header[1]&maskBit != 0 {
		n += 4
	}
	return n
}

// check judges the first two bytes.
func (s *Scanner) check() error {
	op, fin := s.header[0]&0xf, s.header[0]&finBit != 0
	control := op&opControl != 0
	switch {
	case op > opBinary && !control || op > opPong:
		return ErrOpcode
	case s.header[0]&reservedBits&^s.allowed(op) != 0:
		return ErrReserved
	case control && (!fin || s.header[1]&^maskBit > controlMost):
		return ErrControl
	case op == opClose && s.header[1]&^maskBit == 1:
		return ErrShortClose
	case s.from == Client && s.header[1]&maskBit == 0:
		return ErrUnmasked
	case s.from == Endpoint && s.header[1]&maskBit != 0:
		return ErrMasked
	case !control && (op == opContinuation) != s.message:
		return ErrFragment
	}
	return nil
}

func (s *Scanner) allowed(op byte) byte {
	switch {
	case op&opControl != 0:
		return 0
	case s.reserved == ReservedAll:
		return reservedBits
	case s.reserved == ReservedDeflate && op != opContinuation:
		return deflateBit
	}
	return 0
}

// enter begins the frame whose header is whole.
func (s *Scanner) enter() error {
	length := uint64(s.header[1] &^ maskBit)
	least := uint64(0)
	switch length {
	case 126:
		length, least = uint64(binary.BigEndian.Uint16(s.header[2:])), 126
	case 127:
		length, least = binary.BigEndian.Uint64(s.header[2:]), 1<<16
	}
	if length < least || length >= 1<<63 {
		return ErrLength
	}
	op := s.header[0] & 0xf
	if op&opControl == 0 {
		s.message = s.header[0]&finBit == 0
	}
	s.left, s.closing = length, op == opClose
	return nil
}

// AppendClose appends a close frame with a status, as the sender would have sent it. A client's is masked
// with a random key.
func AppendClose(b []byte, from Sender, status uint16) []byte {
	body := [2]byte{byte(status >> 8), byte(status)}
	if from == Endpoint {
		return append(b, finBit|opClose, 2, body[0], body[1])
	}
	var key [4]byte
	_, _ = rand.Read(key[:]) // it never fails
	b = append(b, finBit|opClose, maskBit|2)
	b = append(b, key[:]...)
	return append(b, body[0]^key[0], body[1]^key[1])
}
